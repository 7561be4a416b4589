"""An MCP server that OAuth protects, and its authorization server, made with the official Python SDK.

`oauth_server.py` serves both on ports of the kernel's choice, each on its own, and prints
`listening URL` with the MCP endpoint first. Whoever asks for authorization gets it: what is tested
is the way there. Its one tool, `whoami`, tells for which resource the caller's token was made.
"""

import secrets
import socket
import time

import anyio
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.routes import create_auth_routes
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.fastmcp import FastMCP
from mcp.shared.auth import OAuthToken
from pydantic import AnyHttpUrl
from starlette.applications import Starlette

SCOPE = "tools"


class Authority(OAuthAuthorizationServerProvider):
    """Clients, codes and tokens, in memory."""

    def __init__(self):
        self.clients, self.codes, self.tokens = {}, {}, {}

    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client_info):
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client, params: AuthorizationParams):
        code = AuthorizationCode(
            code=secrets.token_urlsafe(32),
            scopes=params.scopes or [SCOPE],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(self, client, authorization_code):
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client, authorization_code):
        del self.codes[authorization_code.code]
        token = secrets.token_urlsafe(32)
        self.tokens[token] = AccessToken(
            token=token,
            client_id=client.client_id,
            scopes=authorization_code.scopes,
            expires_at=int(time.time()) + 600,
            resource=authorization_code.resource,
        )
        return OAuthToken(access_token=token, expires_in=600, scope=SCOPE)

    async def load_refresh_token(self, client, refresh_token) -> RefreshToken | None:
        return None

    async def load_access_token(self, token):
        return self.tokens.get(token)

    async def verify_token(self, token):
        return self.tokens.get(token)


def listen():
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


async def serve(app, listener):
    await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listener])


async def main():
    authority = Authority()
    (issuer_listener, issuer), (listener, origin) = listen(), listen()
    routes = create_auth_routes(
        authority,
        issuer_url=AnyHttpUrl(issuer),
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=[SCOPE], default_scopes=[SCOPE]
        ),
    )
    server = FastMCP(
        "protected",
        log_level="WARNING",
        token_verifier=authority,
        auth=AuthSettings(
            issuer_url=issuer,
            resource_server_url=f"{origin}/mcp",
            required_scopes=[SCOPE],
            # A token is for the tunnel's URL, which this server does not know.
            validate_token_resource=False,
        ),
    )

    @server.tool(name="whoami")
    def whoami() -> str:
        return get_access_token().resource

    async with anyio.create_task_group() as group:
        group.start_soon(serve, Starlette(routes=routes), issuer_listener)
        group.start_soon(serve, server.streamable_http_app(), listener)
        print(f"listening {origin}/mcp", flush=True)


anyio.run(main)
