"""An MCP server that wants OAuth, with its authorization server: `python -m tests.tools.mcp_oauth_server port`.

Built of the library's own parts. Everybody consents at once. For the tests: `/expire` ends all access tokens,
`/revoke` all grants, and `/asked` tells what was asked of the authorization server.
"""

from __future__ import annotations

import secrets
import sys
import time
from typing import Any

from mcp.server import MCPServer
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    RefreshToken,
    TokenError,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl, AnyUrl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

PORT = int(sys.argv[1])
ISSUER = f"http://127.0.0.1:{PORT}"
TOKEN_SECONDS = 3600


class Provider:
    """The authorization server. Refresh tokens rotate; one that is used twice ends its grant."""

    def __init__(self) -> None:
        self.clients: dict[str, OAuthClientInformationFull] = {
            "own": OAuthClientInformationFull(
                client_id="own",
                client_secret="own-secret",
                redirect_uris=[AnyUrl("http://127.0.0.1:4000/v1/mcp-oauth/callback")],
                token_endpoint_auth_method="client_secret_basic",
                scope="tools",
            )
        }
        self.codes: dict[str, AuthorizationCode] = {}
        self.tokens: dict[str, AccessToken] = {}
        self.refresh_tokens: dict[str, RefreshToken] = {}
        self.asked: list[dict[str, Any]] = []

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.asked.append({"registered": client_info.client_name})
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        self.asked.append({"authorized": client.client_id, "resource": params.resource, "scopes": params.scopes})
        code = AuthorizationCode(
            code=secrets.token_hex(16),
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        self.asked.append({"exchanged": client.client_id})
        return self._issue(client.client_id, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        return self.refresh_tokens.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        if self.refresh_tokens.pop(refresh_token.token, None) is None:
            raise TokenError("invalid_grant")
        self.asked.append({"refreshed": client.client_id})
        return self._issue(client.client_id, scopes, refresh_token.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.tokens.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.tokens.pop(token.token, None)

    def _issue(self, client_id: str, scopes: list[str], resource: str | None) -> OAuthToken:
        access, refresh = secrets.token_hex(16), secrets.token_hex(16)
        expires_at = int(time.time()) + TOKEN_SECONDS
        self.tokens[access] = AccessToken(
            token=access, client_id=client_id, scopes=scopes, expires_at=expires_at, resource=resource
        )
        self.refresh_tokens[refresh] = RefreshToken(
            token=refresh, client_id=client_id, scopes=scopes, resource=resource
        )
        return OAuthToken(
            access_token=access,
            token_type="Bearer",
            expires_in=TOKEN_SECONDS,
            scope=" ".join(scopes),
            refresh_token=refresh,
        )


provider = Provider()
server = MCPServer(
    "guarded",
    auth_server_provider=provider,  # type: ignore[arg-type]  # one of its methods is missing, for a grant of no use here
    auth=AuthSettings(
        issuer_url=AnyHttpUrl(ISSUER),
        resource_server_url=AnyHttpUrl(f"{ISSUER}/mcp"),
        validate_token_resource=True,
        required_scopes=["tools"],
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=["tools", "more"], default_scopes=["tools"]
        ),
    ),
)


@server.tool()
def secret() -> str:
    """Tells what only the authorized may know."""
    return "the answer"


@server.custom_route("/expire", methods=["POST"])  # type: ignore[untyped-decorator]
async def expire(request: Request) -> Response:
    provider.tokens.clear()
    return Response()


@server.custom_route("/revoke", methods=["POST"])  # type: ignore[untyped-decorator]
async def revoke(request: Request) -> Response:
    provider.tokens.clear()
    provider.refresh_tokens.clear()
    return Response()


@server.custom_route("/asked", methods=["GET"])  # type: ignore[untyped-decorator]
async def asked(request: Request) -> Response:
    return JSONResponse(provider.asked)


if __name__ == "__main__":
    server.run(transport="streamable-http", host="127.0.0.1", port=PORT)
