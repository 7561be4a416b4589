"""The official Python SDK client of the handshake era, through every step a session can take.

`client_2025.py URL [STEP...]` connects to the MCP endpoint at URL and prints one JSON line a
step, then exits 0; the first step that fails prints what was wrong and exits 1. The server behind URL is
`server.py`, of either era, or the npm server `@modelcontextprotocol/server-everything`. PAYLOAD_URL in the
environment names a file that the latter can fetch: it is how it is made to answer something big.
"""

import base64
import json
import os
import sys
import zlib
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import httpx
from mcp import ClientSession, McpError, types
from mcp.client.streamable_http import streamable_http_client

import common
from common import LONG, MIB, URL, check, counts_of, progress, text_of

PAYLOAD_URL = os.environ.get("PAYLOAD_URL", "")

# What each known tool is called with. A tool that needs a capability of the client is not listed
# by either server to a client that has none; a new tool fails here until it gets a line.
ARGUMENTS = {
    **common.ARGUMENTS,
    "get-annotated-message": {"messageType": "success", "includeImage": True},
    "get-env": {},
    "get-resource-links": {"count": 3},
    "get-resource-reference": {"resourceType": "Blob", "resourceId": 2},
    "get-structured-content": {"location": "Chicago"},
    "get-tiny-image": {},
    "gzip-file-as-resource": {
        "name": "hello.gz",
        "data": "data:text/plain,hello",
        "outputType": "resource",
    },
    "toggle-simulated-logging": {},
    "toggle-subscriber-updates": {},
}
ELSEWHERE = {*common.ELSEWHERE, "simulate-research-query"}
PROMPT_ARGUMENTS = {
    "args-prompt": {"city": "Oslo", "state": "Viken"},
    "completable-prompt": {"department": "Engineering", "name": "Alice"},
    "resource-prompt": {"resourceType": "Text", "resourceId": "1"},
}


@asynccontextmanager
async def connect():
    timeout = httpx.Timeout(30, read=120)
    async with httpx.AsyncClient(timeout=timeout) as http:
        async with streamable_http_client(URL, http_client=http) as (reader, writer, session_id):
            limit = timedelta(seconds=60)
            async with ClientSession(reader, writer, read_timeout_seconds=limit) as session:
                session.initialized = await session.initialize()
                session.session_id = session_id()
                yield session


async def initialize(session):
    answer = session.initialized
    check(answer.serverInfo.name, "the server has no name")
    check(answer.protocolVersion == types.LATEST_PROTOCOL_VERSION, answer.protocolVersion)
    await session.send_ping()
    return {"server": answer.serverInfo.name, "session": session.session_id is not None}


async def tools(session):
    names = [tool.name for tool in (await session.list_tools()).tools]
    for name in names:
        if name in ELSEWHERE:
            continue
        check(name in ARGUMENTS, f"no arguments known for the tool {name}")
        result = await session.call_tool(name, ARGUMENTS[name])
        check(not result.isError and result.content, f"{name}: {result}")
    check(text_of(await session.call_tool("echo", {"message": "hi"})) == "Echo: hi", "echo")
    if "toggle-simulated-logging" in names:
        await session.call_tool("toggle-simulated-logging", {})
        await session.call_tool("toggle-subscriber-updates", {})
    return {"tools": len(names)}


async def resources(session):
    listed = (await session.list_resources()).resources
    check(listed, "no resources")
    for resource in listed:
        contents = (await session.read_resource(resource.uri)).contents
        check(contents, f"{resource.uri} is empty")
        if str(resource.uri) == "memo://greeting":
            check("世界 \U0001f30d\n\u2028 a line" in contents[0].text, contents[0].text)
        if str(resource.uri) == "memo://bytes":
            check(base64.b64decode(contents[0].blob) == bytes(range(256)), "bytes changed")
    templates = (await session.list_resource_templates()).resourceTemplates
    check(templates, "no resource templates")
    for template in templates:
        uri = template.uriTemplate.replace("{resourceId}", "1").replace("{name}", "fjords")
        contents = (await session.read_resource(uri)).contents
        check(contents, f"{uri} is empty")
    return {"resources": len(listed), "templates": len(templates)}


async def prompts(session):
    listed = (await session.list_prompts()).prompts
    check(len(listed) >= 2, "too few prompts")
    for prompt in listed:
        got = await session.get_prompt(prompt.name, PROMPT_ARGUMENTS.get(prompt.name))
        check(got.messages, f"{prompt.name} has no messages")
    return {"prompts": len(listed)}


async def errors(session):
    """An error result is a result; an error is an error; both arrive as the server made them."""
    result = await session.call_tool("get-sum", {"a": "not a number"})
    check(result.isError and text_of(result), result)
    if session.initialized.serverInfo.name.startswith("python-"):
        result = await session.call_tool("fail", {})
        check(result.isError and " fail" in text_of(result), result)
    for call in (
        session.read_resource("memo://no/such/thing"),
        session.get_prompt("no-such-prompt"),
        session.send_request(
            types.Request(method="no/such/method", params=None), types.EmptyResult
        ),
    ):
        try:
            answer = await call
        except McpError as error:
            check(error.error.code <= 0, error.error)
            check("tunnel_failure" not in (error.error.data or {}), error.error)
        else:
            check(False, f"an error was expected: {answer}")


async def cancel(session):
    first_id = session._request_id

    async def call(arguments, on_progress):
        try:
            await session.call_tool(LONG, arguments, progress_callback=on_progress)
        except McpError as error:
            check("ancelled" in error.error.message, error.error)

    async def cancel_all(scopes):
        for request_id in range(first_id, first_id + len(scopes)):
            await session.send_notification(
                types.ClientNotification(types.CancelledNotification(
                    params=types.CancelledNotificationParams(
                        requestId=request_id, reason="no longer wanted"
                    ),
                ))
            )
        # Some answer a cancelled call, some never do. Both are right.
        for scope in scopes:
            scope.deadline = anyio.current_time() + 5

    await common.cancel_many(session, call, cancel_all)
    if session.initialized.serverInfo.name.startswith("python-"):
        counts = await counts_of(session)
        check(counts["cancelled"] >= 10, counts)
        return counts


async def payloads(session):
    await common.echo_mebibytes(session)
    if session.initialized.serverInfo.name.startswith("python-"):
        return await common.get_sixteen_mebibytes(session)
    arguments = {"name": "big.gz", "data": PAYLOAD_URL, "outputType": "resource"}
    result = await session.call_tool("gzip-file-as-resource", arguments)
    check(not result.isError, text_of(result)[:500])
    blob = result.content[0].resource.blob
    check(len(blob) >= 16 * MIB, f"16 MiB became {len(blob)}")
    data = zlib.decompress(base64.b64decode(blob), wbits=31)
    check(data == httpx.get(PAYLOAD_URL).content, "the payload changed on the way")
    return {"bytes": len(blob)}


async def many_at_once(_):
    await common.call_fifty(connect)


async def server_dies(session):
    """A call that the server dies of ends in an error; the session goes on with the next server."""
    try:
        answer = await session.call_tool("die", {}, progress_callback=ignore)
    except McpError as error:
        failure = error.error
    else:
        check(False, f"an error was expected: {answer}")
    while True:
        try:
            result = await session.call_tool("echo", {"message": "again"})
            break
        except McpError:
            await anyio.sleep(0.1)
    check(text_of(result) == "Echo: again", result)
    return {"code": failure.code, "message": failure.message, "data": failure.data}


async def slow_calls(session):
    """Five calls that say `running` when the server works on them, and end when they end."""
    # Else the client asks for the schema of a result that it has, and the tunnel may be gone.
    await session.list_tools()

    async def slow_call():
        async def on_progress(value, total, message):
            if value == 1:
                print(json.dumps({"step": "running"}), flush=True)

        result = await session.call_tool(
            LONG, {"duration": 2, "steps": 20}, progress_callback=on_progress
        )
        check("completed" in text_of(result), result)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(slow_call)


async def endless_call(session):
    """A call that says `running` and never ends by itself."""

    async def on_progress(value, total, message):
        if value == 1:
            print(json.dumps({"step": "running"}), flush=True)

    arguments = {"duration": 3000, "steps": 30000}
    await session.call_tool(LONG, arguments, timedelta(seconds=3000), on_progress)


async def ignore(value, total, message):
    pass


STEPS = [initialize, tools, resources, prompts, progress, errors, cancel, payloads, many_at_once]
common.run(connect, [globals()[name] for name in sys.argv[2:]] or STEPS)
