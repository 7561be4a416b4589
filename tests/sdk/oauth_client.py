"""The official Python SDK client at a server that OAuth protects (`oauth_server.py`).

`oauth_client.py URL` connects to the MCP endpoint at URL, first without a token, then with one that
it gets as its SDK does, and prints one JSON line a step, then exits 0; the first step that fails
ends it with 1. Nobody has to click: the authorization server grants what it is asked for.
"""

import json
import sys
from urllib.parse import parse_qs, urlparse

import anyio
import httpx
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

URL = sys.argv[1]
ORIGIN = "{0.scheme}://{0.netloc}".format(urlparse(URL))
METADATA = f"{ORIGIN}/.well-known/oauth-protected-resource{urlparse(URL).path}"
CALLBACK = "http://127.0.0.1:1/callback"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def done(step):
    print(json.dumps({"step": step}), flush=True)


class Memory(TokenStorage):
    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


class Browser:
    """What a person would do."""

    async def visit(self, url):
        async with httpx.AsyncClient() as http:
            self.came_back_with = parse_qs(urlparse((await http.get(url)).headers["Location"]).query)

    async def come_back(self):
        return self.came_back_with["code"][0], self.came_back_with["state"][0]


async def refused(http, token=None):
    headers = {"Accept": "application/json, text/event-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    answer = await http.post(URL, json=INITIALIZE, headers=headers)
    check(answer.status_code == 401, answer)
    challenge = answer.headers["WWW-Authenticate"]
    check(f'resource_metadata="{METADATA}"' in challenge, challenge)
    check("invalid_token" in challenge, challenge)


async def metadata(http):
    document = (await http.get(METADATA)).raise_for_status().json()
    check(document["resource"] == URL, document)
    check(not document["authorization_servers"][0].startswith(ORIGIN), document)


async def authorized():
    memory, browser = Memory(), Browser()
    auth = OAuthClientProvider(
        server_url=URL,
        client_metadata=OAuthClientMetadata(
            client_name="test", redirect_uris=[CALLBACK], scope="tools"
        ),
        storage=memory,
        redirect_handler=browser.visit,
        callback_handler=browser.come_back,
    )
    async with (
        httpx.AsyncClient(auth=auth, timeout=30) as http,
        streamable_http_client(URL, http_client=http) as (reader, writer, _),
        ClientSession(reader, writer) as session,
    ):
        await session.initialize()
        result = await session.call_tool("whoami", {})
        check(result.content[0].text == URL, result)
    check(memory.tokens.access_token, memory.tokens)


async def main():
    with anyio.fail_after(60):
        async with httpx.AsyncClient(timeout=30) as http:
            await refused(http)
            done("refused")
            await metadata(http)
            done("metadata")
            await authorized()
            done("authorized")
            await refused(http, "not-a-token")
            done("refused_again")


anyio.run(main)
