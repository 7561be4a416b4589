"""An MCP server made with the official Python SDK, of the era of the SDK that runs it.

`server.py` serves one client on stdin and stdout; `server.py --http` serves many on a port of the
kernel's choice and prints `listening URL` first. Its tools are the ones a tunnel can get wrong:
large, slow, cancelled, failing, dying. `echo`, `get-sum` and `trigger-long-running-operation` have
the names and shapes of the npm server `@modelcontextprotocol/server-everything`, so that one
client program can exercise both.
"""

import os
import socket
import sys
from typing import Annotated

import anyio
import uvicorn
from pydantic import Field

try:
    from mcp.server.mcpserver import Context, MCPServer as Server
    import mcp_types as types

    STATELESS = True
except ImportError:
    from mcp.server.fastmcp import Context, FastMCP as Server

    STATELESS = False

server = Server("python-2026" if STATELESS else "python-2025", log_level="WARNING")
cancelled = 0
started = 0


@server.tool(name="echo")
def echo(message: str) -> str:
    return f"Echo: {message}"


@server.tool(name="get-sum")
def get_sum(a: float, b: float) -> str:
    return f"The sum of {a:g} and {b:g} is {a + b:g}."


@server.tool(name="trigger-long-running-operation")
async def long_running_operation(ctx: Context, duration: float = 10, steps: int = 5) -> str:
    global cancelled, started
    started += 1
    try:
        for step in range(1, steps + 1):
            await anyio.sleep(duration / steps)
            await ctx.report_progress(step, steps)
    except anyio.get_cancelled_exc_class():
        cancelled += 1
        raise
    return f"Long running operation completed. Duration: {duration:g} seconds, Steps: {steps}."


@server.tool(name="counts")
def counts() -> dict[str, int]:
    """How many long running operations have started, and how many of them were cancelled."""
    return {"started": started, "cancelled": cancelled}


@server.tool(name="big", structured_output=False)
def big(size: int) -> str:
    """A text of `size` characters, each of one byte."""
    return "0123456789abcdef" * (size // 16) + "x" * (size % 16)


@server.tool(name="fail")
def fail() -> str:
    raise RuntimeError("this tool always fails")


@server.tool(name="die")
async def die(ctx: Context) -> str:
    """Reports progress once, then ends the process without an answer."""
    await ctx.report_progress(1, 2)
    await anyio.sleep(0.1)
    os._exit(3)


@server.resource("memo://greeting", mime_type="text/plain")
def greeting() -> str:
    return "Grüße, 世界 \U0001f30d\n\u2028 a line separator is no end of a message"


@server.resource("memo://bytes", mime_type="application/octet-stream")
def some_bytes() -> bytes:
    return bytes(range(256))


@server.resource("memo://notes/{name}")
def note(name: str) -> str:
    return f"a note about {name}"


@server.prompt(name="simple-prompt")
def simple_prompt() -> str:
    return "This is a simple prompt without arguments."


@server.prompt(name="args-prompt")
def args_prompt(city: str, state: str = "") -> str:
    return f"What's weather in {city}{', ' + state if state else ''}?"


if STATELESS:
    # What only the stateless era has: an argument that travels in a header as well, a call that
    # needs more input first, and a subscription.

    @server.tool(name="in-region")
    def in_region(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})], ctx: Context
    ) -> str:
        return f"{region}, {ctx.headers.get('mcp-param-region') if ctx.headers else 'no headers'}"

    @server.tool(name="ask-for-name")
    def ask_for_name(ctx: Context) -> str | types.InputRequiredResult:
        answers = ctx.input_responses
        if not answers:
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
            question = types.ElicitRequest(
                params=types.ElicitRequestFormParams(message="Name?", requested_schema=schema)
            )
            return types.InputRequiredResult(
                input_requests={"name": question}, request_state='{"n": 1.0}'
            )
        return f"Hello, {answers['name'].content['name']}!"

    @server.tool(name="change-tools")
    async def change_tools(ctx: Context) -> str:
        await ctx.notify_tools_changed()
        return "changed"


def serve_http() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    print(f"listening http://127.0.0.1:{port}/mcp", flush=True)
    app = server.streamable_http_app()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    if "--http" in sys.argv[1:]:
        serve_http()
    else:
        server.run("stdio")
