"""What the Python SDK clients of both eras do in the same way.

Their sessions differ in what they are made of, but call tools alike: `call_tool(name, arguments)`,
with `progress_callback` for those who want to hear of each step.
"""

import json
import sys
import time

import anyio

URL = sys.argv[1]
MIB = 1024 * 1024
LONG = "trigger-long-running-operation"
# What the tools of `server.py` are called with.
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


async def counts_of(session):
    return json.loads(text_of(await session.call_tool("counts", {})))


async def reports_each_step(session, arguments, said):
    seen = []

    async def on_progress(value, total, message):
        seen.append((value, total))

    result = await session.call_tool(LONG, arguments, progress_callback=on_progress)
    check(said in text_of(result), f"{arguments}: {text_of(result)}")
    steps = arguments["steps"]
    expected = [(float(n), float(steps)) for n in range(1, steps + 1)]
    check(seen == expected, f"{arguments}: progress was {seen}")


async def progress(session):
    await reports_each_step(session, {"duration": 0.5, "steps": 10}, "completed")


async def cancel_many(session, call, cancel):
    """More calls are cancelled at once than the tunnel has workers; the next call must go through.

    `call(arguments, on_progress)` makes one; `cancel(scopes)` cancels those that run in them.
    """
    started = anyio.Semaphore(0)

    async def call_for_long(scope):
        async def on_progress(value, total, message):
            if value == 1:
                started.release()

        with scope:
            await call({"duration": 3000, "steps": 30000}, on_progress)

    scopes = [anyio.CancelScope() for _ in range(12)]
    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(call_for_long, scope)
        for _ in range(10):
            await started.acquire()
        await cancel(scopes)
    # Long before the cancelled calls would have ended by themselves.
    with anyio.fail_after(15):
        text = text_of(await session.call_tool("echo", {"message": "next"}))
    check(text == "Echo: next", text)


async def echo_mebibytes(session):
    for message in ('Zürich 🌍 \u2028 \\ " ' * (MIB // 16), "a" * MIB):
        text = text_of(await session.call_tool("echo", {"message": message}))
        check(text == "Echo: " + message, "1 MiB came back changed")


async def get_sixteen_mebibytes(session):
    text = text_of(await session.call_tool("big", {"size": 16 * MIB}))
    check(text == "0123456789abcdef" * MIB, f"16 MiB became {len(text)}")
    return {"bytes": len(text)}


async def call_fifty(connect):
    """50 calls at once from 5 sessions: each gets its own answer and its own progress."""
    answered = 0

    async def one_call(session, number):
        nonlocal answered
        if number % 2:
            result = await session.call_tool("get-sum", {"a": number, "b": 1000})
            check(f" is {number + 1000}." in text_of(result), f"{number}: {text_of(result)}")
        else:
            steps = 2 + number % 7
            arguments = {"duration": 0.2, "steps": steps}
            await reports_each_step(session, arguments, f"Steps: {steps}.")
        answered += 1

    async def one_session(index, ready, go):
        async with connect() as session:
            ready.release()
            await go.wait()
            async with anyio.create_task_group() as group:
                for number in range(index * 10, index * 10 + 10):
                    group.start_soon(one_call, session, number)

    ready, go = anyio.Semaphore(0), anyio.Event()
    async with anyio.create_task_group() as group:
        for index in range(5):
            group.start_soon(one_session, index, ready, go)
        for _ in range(5):
            await ready.acquire()
        go.set()
    check(answered == 50, f"{answered} of 50 answered")


def run(connect, steps):
    """Takes the steps in one session, and says so: one JSON line each."""

    async def main():
        async with connect() as session:
            for step in steps:
                begin = time.monotonic()
                try:
                    with anyio.fail_after(60):
                        detail = await step(session)
                except Exception as error:
                    failed = {"step": step.__name__, "failed": repr(error)[:2000]}
                    print(json.dumps(failed), flush=True)
                    raise
                ms = round((time.monotonic() - begin) * 1000)
                print(json.dumps({"step": step.__name__, "ms": ms, **(detail or {})}), flush=True)

    anyio.run(main)
