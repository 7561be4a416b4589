"""A scripted MCP child for tests/stdio/channel.rs.

argv: MODE SEEN. Every line that arrives is appended to the file SEEN. The method `do` runs the
steps in its params; in emitted texts $ID stands for the id of the call (as the child sees it).
"""
import json, os, signal, subprocess, sys, threading, time

mode, seen = sys.argv[1], sys.argv[2]
lock = threading.Lock()
held = []
locked = None
answers = {}


def emit(text):
    with lock:
        os.write(1, (text + "\n").encode()) if len(text) < 1000 else write_all(text + "\n")


def write_all(text):
    data = text.encode()
    while data:
        data = data[os.write(1, data):]


def answer(rid, result):
    emit(json.dumps({"jsonrpc": "2.0", "id": rid, "result": result}))


def fail(rid, code):
    emit(json.dumps({"jsonrpc": "2.0", "id": rid, "error": {"code": code, "message": "no"}}))


def steps(rid, todo):
    for step, *args in todo:
        if step == "raw":
            emit(args[0].replace("$ID", json.dumps(rid)))
        elif step == "answer":
            answer(rid, args[0] if args else {})
        elif step == "hold":
            held.append(rid)
        elif step == "release":
            while held:
                answer(held.pop(), {"released": True})
        elif step == "exit":
            os._exit(args[0])
        elif step == "big":
            emit('{"jsonrpc":"2.0","id":%s,"result":{"x":"%s"}}' % (json.dumps(rid), "x" * args[0]))
        elif step == "stderr":
            for n in range(args[0]):
                os.write(2, b"a line of the child's log, number %d\n" % n)
        elif step == "close_stdout":
            os.close(1)
        elif step == "stop_reading":
            threading.Event().wait()
        elif step == "env":
            answer(rid, {name: os.environ.get(name) for name in args})
        elif step == "spawn":
            process = subprocess.Popen(["sleep", "600"])
            answer(rid, {"pid": process.pid})


def handle(message):
    method, rid = message.get("method"), message.get("id")
    if method is None:
        answers[rid] = message
        return
    if rid is None:
        return
    if mode == "either":
        # Like servers of the official SDKs for both eras: the first message decides.
        global locked
        modern = "io.modelcontextprotocol/protocolVersion" in message.get("params", {}).get("_meta", {})
        locked = modern if locked is None else locked
        if locked != modern:
            return fail(rid, -32600 if modern else -32022)
    if method == "ping":
        answer(rid, {})
    elif method == "initialize":
        if mode == "deaf-to-initialize":
            return
        if mode == "slow-initialize":
            threading.Timer(0.5, initialize, (rid, message)).start()
        elif mode == "refuse-first" and not os.path.exists(seen + ".refused"):
            open(seen + ".refused", "w")
            fail(rid, -32602)
        else:
            initialize(rid, message)
    elif method == "server/discover":
        if mode == "deaf-to-discover":
            return
        if mode == "exit-on-discover":
            os._exit(8)
        if mode in ("modern", "either"):
            answer(rid, {"supportedVersions": ["2026-07-28"], "resultType": "complete"})
        else:
            fail(rid, -32601)
    elif method == "subscriptions/listen":
        pass
    elif method == "do":
        steps(rid, message["params"]["steps"])
    elif method == "refused":
        fail(rid, message["params"]["code"])
    else:
        fail(rid, -32601)


def initialize(rid, message):
    answer(rid, {"protocolVersion": message["params"]["protocolVersion"], "pid": os.getpid()})


if mode == "exit":
    sys.exit(3)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "banner":
    print("Welcome to the server!\n{not json}", flush=True)
while True:
    line = sys.stdin.buffer.readline()
    if not line:
        break
    with open(seen, "ab") as file:
        file.write(line)
    if mode != "silent":
        handle(json.loads(line))
if mode == "stubborn":
    threading.Event().wait()
