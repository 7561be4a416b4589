"""The official Python SDK client of the stateless era, through every step a connection can take.

`client_2026.py URL [STEP...]` connects to the MCP endpoint at URL and prints one JSON line a
step, then exits 0; the first step that fails prints what was wrong and exits 1. The server behind
URL is `server.py` run by an SDK of the same era, but for the step `fall_back`.
"""

import json
import sys
import time
import warnings
from contextlib import asynccontextmanager

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult

# A method of another era is called on purpose.
warnings.simplefilter("ignore")
URL = sys.argv[1]
MIB = 1024 * 1024
LONG = "trigger-long-running-operation"
ARGUMENTS = {
    "echo": {"message": "hello"},
    "get-sum": {"a": 2, "b": 3},
    LONG: {"duration": 0.1, "steps": 2},
    "counts": {},
    "big": {"size": 100},
    "in-region": {"region": "eu"},
    "change-tools": {},
}
# Called where it belongs, not in the round of all tools.
ELSEWHERE = {"fail", "die", "ask-for-name"}


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def text_of(result):
    return "".join(c.text for c in result.content if c.type == "text")


async def answer_with_a_name(context, params):
    return ElicitResult(action="accept", content={"name": "Åse"})


@asynccontextmanager
async def connect():
    timeout = httpx2.Timeout(30, read=120)
    async with httpx2.AsyncClient(timeout=timeout) as http:
        transport = streamable_http_client(URL, http_client=http)
        async with Client(
            transport, elicitation_callback=answer_with_a_name, read_timeout_seconds=60
        ) as client:
            yield client


async def discover(client):
    """The client probes first; a fall back to the handshake would be the tunnel's fault."""
    check(client.protocol_version == "2026-07-28", client.protocol_version)
    check(client.server_info.name == "python-2026", client.server_info)
    return {"version": client.protocol_version}


async def tools(client):
    names = [tool.name for tool in (await client.list_tools()).tools]
    for name in names:
        if name in ELSEWHERE:
            continue
        check(name in ARGUMENTS, f"no arguments known for the tool {name}")
        result = await client.call_tool(name, ARGUMENTS[name])
        check(not result.is_error and result.content, f"{name}: {result}")
    return {"tools": len(names)}


async def resources(client):
    listed = (await client.list_resources()).resources
    for resource in listed:
        contents = (await client.read_resource(str(resource.uri))).contents
        check(contents, f"{resource.uri} is empty")
    templates = (await client.list_resource_templates()).resource_templates
    note = await client.read_resource("memo://notes/fjørds")
    check(note.contents[0].text == "a note about fjørds", note)
    return {"resources": len(listed), "templates": len(templates)}


async def prompts(client):
    listed = (await client.list_prompts()).prompts
    check(len(listed) >= 2, "too few prompts")
    got = await client.get_prompt("args-prompt", {"city": "Oslo"})
    check("Oslo" in got.messages[0].content.text, got)
    return {"prompts": len(listed)}


async def progress(client):
    seen = []

    async def on_progress(value, total, message):
        seen.append((value, total))

    arguments = {"duration": 0.5, "steps": 10}
    result = await client.call_tool(LONG, arguments, progress_callback=on_progress)
    check("completed" in text_of(result), result)
    check(seen == [(float(n), 10.0) for n in range(1, 11)], f"progress was {seen}")


async def errors(client):
    result = await client.call_tool("fail", {})
    check(result.is_error and text_of(result), result)
    for call, code in (
        (client.read_resource("memo://no/such/thing"), -32602),
        (client.get_prompt("no-such-prompt"), None),
        # Of another era, so unknown here: 404 with a JSON-RPC body, which is an answer.
        (client.session.set_logging_level("debug"), -32601),
    ):
        try:
            answer = await call
        except MCPError as error:
            check(code in (error.code, None), f"{error.code} {error}")
            check("tunnel_failure" not in (error.data or {}), error.data)
        else:
            check(False, f"an error was expected: {answer}")


async def header_argument(client):
    """An argument that is mirrored in `Mcp-Param-Region`, plain and encoded."""
    for region in ("eu-north", "Øst"):
        text = text_of(await client.call_tool("in-region", {"region": region}))
        check(text.startswith(region + ", "), text)
    return {"header": text}


async def more_input(client):
    """`input_required`, answered by a second request that echoes an opaque state."""
    check(text_of(await client.call_tool("ask-for-name", {})) == "Hello, Åse!", "not asked")


async def cancel(client):
    """More calls are cancelled at once than the tunnel has workers; the next call must go through."""
    count = 12
    started = anyio.Semaphore(0)
    before = json.loads(text_of(await client.call_tool("counts", {})))

    async def call_for_long(scope):
        async def on_progress(value, total, message):
            if value == 1:
                started.release()

        with scope:
            arguments = {"duration": 3000, "steps": 30000}
            await client.call_tool(LONG, arguments, 4000, on_progress)

    scopes = [anyio.CancelScope() for _ in range(count)]
    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(call_for_long, scope)
        for _ in range(10):
            await started.acquire()
        for scope in scopes:
            scope.cancel()
    # Long before the cancelled calls would have ended by themselves.
    with anyio.fail_after(15):
        text = text_of(await client.call_tool("echo", {"message": "next"}))
    check(text == "Echo: next", text)
    # The server learns of it: all that had started are cancelled, in time.
    while True:
        counts = json.loads(text_of(await client.call_tool("counts", {})))
        if counts["cancelled"] - before["cancelled"] >= 10:
            return counts
        await anyio.sleep(0.05)


async def payloads(client):
    for message in ('Zürich 🌍 \u2028 \\ " ' * (MIB // 16), "a" * MIB):
        text = text_of(await client.call_tool("echo", {"message": message}))
        check(text == "Echo: " + message, "1 MiB came back changed")
    text = text_of(await client.call_tool("big", {"size": 16 * MIB}))
    check(text == "0123456789abcdef" * MIB, f"16 MiB became {len(text)}")
    return {"bytes": len(text)}


async def many_at_once(_):
    """50 calls at once from 5 clients: each gets its own answer and its own progress."""
    answered = 0

    async def one_call(client, number):
        nonlocal answered
        seen = []

        async def on_progress(value, total, message):
            seen.append((value, total))

        if number % 2:
            result = await client.call_tool("get-sum", {"a": number, "b": 1000})
            check(f" is {number + 1000}." in text_of(result), f"{number}: {text_of(result)}")
        else:
            steps = 2 + number % 7
            arguments = {"duration": 0.2, "steps": steps}
            result = await client.call_tool(LONG, arguments, progress_callback=on_progress)
            check(f"Steps: {steps}." in text_of(result), f"{number}: {text_of(result)}")
            expected = [(float(n), float(steps)) for n in range(1, steps + 1)]
            check(seen == expected, f"{number}: progress was {seen}")
        answered += 1

    async def one_client(index, ready, go):
        async with connect() as client:
            ready.release()
            await go.wait()
            async with anyio.create_task_group() as group:
                for number in range(index * 10, index * 10 + 10):
                    group.start_soon(one_call, client, number)

    ready, go = anyio.Semaphore(0), anyio.Event()
    async with anyio.create_task_group() as group:
        for index in range(5):
            group.start_soon(one_client, index, ready, go)
        for _ in range(5):
            await ready.acquire()
        go.set()
    check(answered == 50, f"{answered} of 50 answered")


async def fall_back(client):
    """A server of the handshake era is found out, and spoken to as it likes."""
    check(client.protocol_version == "2025-11-25", client.protocol_version)
    result = await client.call_tool("echo", {"message": "old friend"})
    check(text_of(result) == "Echo: old friend", result)


STEPS = [
    discover, tools, resources, prompts, progress, errors, header_argument, more_input, cancel,
    payloads, many_at_once,
]
CHOSEN = [globals()[name] for name in sys.argv[2:]] or STEPS


async def main():
    async with connect() as client:
        for step in CHOSEN:
            begin = time.monotonic()
            try:
                with anyio.fail_after(60):
                    detail = await step(client)
            except Exception as error:
                print(json.dumps({"step": step.__name__, "failed": repr(error)[:2000]}), flush=True)
                raise
            ms = round((time.monotonic() - begin) * 1000)
            print(json.dumps({"step": step.__name__, "ms": ms, **(detail or {})}), flush=True)


anyio.run(main)
