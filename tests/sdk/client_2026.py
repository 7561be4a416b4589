"""The official Python SDK client of the stateless era, through every step a connection can take.

`client_2026.py URL [STEP...]` connects to the MCP endpoint at URL and prints one JSON line a
step, then exits 0; the first step that fails prints what was wrong and exits 1. The server behind
URL is `server.py` run by an SDK of the same era, but for the step `fall_back`.
"""

import sys
import warnings
from contextlib import asynccontextmanager

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult

import common
from common import ARGUMENTS, ELSEWHERE, LONG, URL, check, counts_of, progress, text_of

# A method of another era is called on purpose.
warnings.simplefilter("ignore")


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
    before = await counts_of(client)

    async def call(arguments, on_progress):
        await client.call_tool(LONG, arguments, 4000, on_progress)

    async def cancel_all(scopes):
        for scope in scopes:
            scope.cancel()

    await common.cancel_many(client, call, cancel_all)
    # The server learns of it: all that had started are cancelled, in time.
    while True:
        counts = await counts_of(client)
        if counts["cancelled"] - before["cancelled"] >= 10:
            return counts
        await anyio.sleep(0.05)


async def payloads(client):
    await common.echo_mebibytes(client)
    return await common.get_sixteen_mebibytes(client)


async def many_at_once(_):
    await common.call_fifty(connect)


async def fall_back(client):
    """A server of the handshake era is found out, and spoken to as it likes."""
    check(client.protocol_version == "2025-11-25", client.protocol_version)
    result = await client.call_tool("echo", {"message": "old friend"})
    check(text_of(result) == "Echo: old friend", result)


STEPS = [
    discover, tools, resources, prompts, progress, errors, header_argument, more_input, cancel,
    payloads, many_at_once,
]
common.run(connect, [globals()[name] for name in sys.argv[2:]] or STEPS)
