"""OAuth 2.1 towards the authorization servers of tenants' MCP servers, in two halves with a person between them.

`begin_flow` discovers the authorization server (protected resource metadata, RFC 9728; authorization server metadata,
RFC 8414), gets a client id (the tenant's own, a client id metadata document, or dynamic registration) and returns the
address for the person's browser, with PKCE and the resource indicator (RFC 8707). `complete_flow` exchanges the code,
in whichever process the browser comes back to. The library has the rules; it knows only flows that one process waits
through, so the halves are cut at its own seams. All requests go through the guarded client.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode, urljoin

import httpx2
from django.conf import settings
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.auth.oauth2 import PKCEParameters
from mcp.client.auth.utils import validate_authorization_response_iss
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from pydantic import AnyUrl

from core_app.errors import Conflict, Unprocessable
from core_app.guarded_client import CallFailed, GuardedClient
from core_app.ids import new_secret

STEP_SECONDS = 10.0
FLOW_SECONDS = 30.0
"""All requests of a half together."""

LONGEST_SECONDS = 10 * 365 * 86_400
MAX_BYTES = 256 * 1024
CALLBACK_PATH = "/v1/mcp-oauth/callback"
DOCUMENT_PATH = "/v1/mcp-oauth/client.json"
CLIENT_NAME = "Agent Gateway"

_PROBE = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {}}
_PROTOCOL = "2025-11-25"


class FlowFailed(Unprocessable):
    """The authorization cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Client:
    """A server with its OAuth settings: the client that the tenant registered itself, and the scope it wants."""

    url: str
    scope: str = ""
    client_id: str = ""
    client_secret: str | None = None
    allow_private: bool = False
    owner: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """Everything that is kept of an authorization, as plain JSON values. `verifier` is set until the code was
    exchanged, the tokens after that; `expires_at` is in seconds of the epoch."""

    client: dict[str, Any]
    metadata: dict[str, Any] | None = None
    resource: dict[str, Any] | None = None
    issuer: str | None = None
    scope: str | None = None
    verifier: str | None = None
    tokens: dict[str, Any] | None = None
    expires_at: float | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Grant:
        """Reads a stored grant."""
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Returns the grant for storage."""
        return asdict(self)

    @property
    def access_token(self) -> str:
        """The token of requests."""
        return str((self.tokens or {}).get("access_token", ""))

    @property
    def granted_scope(self) -> str:
        """The scope of the tokens."""
        return str((self.tokens or {}).get("scope") or self.scope or "")

    @property
    def is_refreshable(self) -> bool:
        """True if a new token can be had without a person."""
        return bool((self.tokens or {}).get("refresh_token"))


@dataclass(frozen=True, slots=True)
class BegunFlow:
    """An authorization that waits for a person at `url`. `state` is the secret by which the browser is recognised."""

    url: str
    state: str
    grant: Grant


class _PersonNeeded(Exception):
    """The flow has come to the person."""

    def __init__(self, flow: BegunFlow) -> None:
        super().__init__()
        self.flow = flow


async def begin_flow(client: Client, http: GuardedClient, *, former: Grant | None = None) -> BegunFlow:
    """Begins an authorization. The client of a `former` one is used again, if the authorization server is the same.
    Raises FlowFailed, and Conflict for a server that asks for none."""
    # Without its tokens: what the server asks of strangers is what is needed.
    former = None if former is None else replace(former, tokens=None)
    begun = await _discover(client, http, former, challenged=False)
    if begun is None:
        # Some servers ask for authorization only when a tool is called, or for another scope.
        with contextlib.suppress(FlowFailed):
            begun = await _discover(client, http, former, challenged=True)
    if begun is None:
        raise Conflict("The MCP server asks for no authorization, and has no metadata about any.", field="auth")
    return begun


async def _discover(client: Client, http: GuardedClient, former: Grant | None, *, challenged: bool) -> BegunFlow | None:
    """Goes the library's way up to the person; None if the server answers without. `challenged`: as if it had said
    401."""
    transport = _PlainTransport(http, client, challenged=challenged)
    try:
        async with httpx2.AsyncClient(transport=transport, auth=_Provider(client, former)) as web:
            await web.post(
                client.url,
                json=_PROBE,
                headers={"accept": "application/json, text/event-stream", "mcp-protocol-version": _PROTOCOL},
            )
    except _PersonNeeded as needed:
        return needed.flow
    except Exception as error:  # contains: the metadata and answers of foreign servers
        raise FlowFailed(_sentence(error)) from None
    return None


async def complete_flow(client: Client, http: GuardedClient, grant: Grant, *, code: str, iss: str | None) -> Grant:
    """Exchanges the code that the browser brought for tokens. Raises FlowFailed."""
    provider = _Provider(client, grant)
    try:
        validate_authorization_response_iss(iss, provider.context.oauth_metadata)
        request = await provider._exchange_token_authorization_code(code, grant.verifier or "")
        async with httpx2.AsyncClient(transport=_PlainTransport(http, client)) as web:
            await provider._handle_token_response(await web.send(request))
    except Exception as error:  # contains: the answers of foreign servers
        raise FlowFailed(_sentence(error)) from None
    return provider.current_grant()


async def refresh_grant(client: Client, http: GuardedClient, grant: Grant) -> Grant | None:
    """Gets a new token with the refresh token. Returns None when the authorization has ended; raises FlowFailed when
    the authorization server cannot be asked now."""
    provider = _Provider(client, grant)
    try:
        async with httpx2.AsyncClient(transport=_PlainTransport(http, client)) as web:
            response = await web.send(await provider._refresh_token())
    except Exception as error:  # contains: the answers of foreign servers
        raise FlowFailed(_sentence(error)) from None
    if response.status_code in (400, 401, 403):
        return None
    if not await provider._handle_refresh_response(response):
        raise FlowFailed(f"The authorization server answered {response.status_code}.")
    return provider.current_grant()


def redirect_uri() -> str:
    """The address that browsers come back to."""
    return settings.GATEWAY_PUBLIC_URL.rstrip("/") + CALLBACK_PATH


def client_document_url() -> str | None:
    """The client id metadata document's address; None where the gateway has no https address."""
    url = settings.GATEWAY_PUBLIC_URL.rstrip("/") + DOCUMENT_PATH
    return url if url.startswith("https://") else None


def client_document() -> dict[str, Any]:
    """The gateway as an OAuth client: a document that authorization servers fetch in place of a registration."""
    return {
        "client_id": settings.GATEWAY_PUBLIC_URL.rstrip("/") + DOCUMENT_PATH,
        "client_name": CLIENT_NAME,
        "client_uri": settings.GATEWAY_PUBLIC_URL,
        "redirect_uris": [redirect_uri()],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }


class _Provider(OAuthClientProvider):
    """The library's flow, from a stored grant, up to the person or from there on."""

    def __init__(self, client: Client, grant: Grant | None) -> None:
        metadata = OAuthClientMetadata(
            client_name=CLIENT_NAME,
            redirect_uris=[AnyUrl(redirect_uri())],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            application_type="web",
            scope=client.scope or None,
        )
        super().__init__(client.url, metadata, _NoStorage(), client_metadata_url=client_document_url())
        self._wanted = client.scope
        self._initialized = True
        context = self.context
        context.client_info = _own_client(client)
        if grant is None:
            return
        if context.client_info is None:
            context.client_info = OAuthClientInformationFull.model_validate(grant.client)
        if grant.metadata is not None:
            context.oauth_metadata = OAuthMetadata.model_validate(grant.metadata)
        if grant.resource is not None:
            context.protected_resource_metadata = ProtectedResourceMetadata.model_validate(grant.resource)
        if grant.tokens is not None:
            context.current_tokens = OAuthToken.model_validate(grant.tokens)
        context.auth_server_url = grant.issuer
        context.client_metadata.scope = grant.scope
        context.protocol_version = _PROTOCOL

    def current_grant(self) -> Grant:
        """Returns the grant with the tokens that have come."""
        tokens = self.context.current_tokens
        expires_in = None if tokens is None or tokens.expires_in is None else min(tokens.expires_in, LONGEST_SECONDS)
        return replace(
            self._kept(),
            tokens=None if tokens is None else tokens.model_dump(mode="json", exclude_none=True),
            expires_at=None if expires_in is None else time.time() + expires_in,
        )

    def _kept(self) -> Grant:
        context = self.context
        if context.client_info is None:
            raise OAuthFlowError("There is no client.")
        metadata, resource = context.oauth_metadata, context.protected_resource_metadata
        return Grant(
            client=context.client_info.model_dump(mode="json", exclude_none=True),
            metadata=None if metadata is None else metadata.model_dump(mode="json", exclude_none=True),
            resource=None if resource is None else resource.model_dump(mode="json", exclude_none=True),
            issuer=context.auth_server_url,
            scope=context.client_metadata.scope,
        )

    async def _perform_authorization(self) -> httpx2.Request:
        """Takes the place of the library's wait for the person."""
        context, metadata = self.context, self.context.oauth_metadata
        if self._wanted:
            context.client_metadata.scope = self._wanted
        if metadata is not None and "S256" not in (metadata.code_challenge_methods_supported or ()):
            raise OAuthFlowError("The authorization server does not support PKCE with S256.")
        pkce, state = PKCEParameters.generate(), new_secret("mst")
        kept = replace(self._kept(), verifier=pkce.code_verifier)
        parameters = {
            "response_type": "code",
            "client_id": kept.client["client_id"],
            "redirect_uri": redirect_uri(),
            "state": state,
            "code_challenge": pkce.code_challenge,
            "code_challenge_method": "S256",
        }
        if context.should_include_resource_param(_PROTOCOL):
            parameters["resource"] = context.get_resource_url()
        if scope := context.client_metadata.scope:
            parameters["scope"] = scope
            if "offline_access" in scope.split():
                parameters["prompt"] = "consent"
        endpoint = self._authorization_endpoint()
        joint = "&" if "?" in endpoint else "?"
        raise _PersonNeeded(BegunFlow(f"{endpoint}{joint}{urlencode(parameters)}", state, kept))

    def _authorization_endpoint(self) -> str:
        metadata = self.context.oauth_metadata
        if metadata is not None and metadata.authorization_endpoint:
            return str(metadata.authorization_endpoint)
        return urljoin(self.context.get_authorization_base_url(self.context.server_url), "/authorize")


class _NoStorage:
    """The library's storage. What it would keep is in the provider's context, and in the grant after that."""

    async def get_tokens(self) -> OAuthToken | None:
        return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keeps nothing."""

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keeps nothing."""


def _own_client(client: Client) -> OAuthClientInformationFull | None:
    """Returns the client that the tenant registered itself."""
    if not client.client_id:
        return None
    return OAuthClientInformationFull(
        client_id=client.client_id,
        client_secret=client.client_secret,
        redirect_uris=[AnyUrl(redirect_uri())],
        token_endpoint_auth_method="client_secret_basic" if client.client_secret else "none",
    )


class _PlainTransport(httpx2.AsyncBaseTransport):
    """Short requests through the guarded client. `challenged`: the first is not sent, and answered 401."""

    def __init__(self, http: GuardedClient, client: Client, *, challenged: bool = False) -> None:
        self._challenged = challenged
        self._http = http
        self._client = client
        self._until = time.monotonic() + FLOW_SECONDS

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._challenged:
            self._challenged = False
            return httpx2.Response(401)
        left = self._until - time.monotonic()
        if left <= 0:
            raise httpx2.ReadTimeout("The servers took too long together.")
        own = ("host", "connection", "content-length", "accept-encoding", "transfer-encoding")
        try:
            response = await self._http.request(
                request.method,
                str(request.url),
                headers={name: value for name, value in request.headers.items() if name.lower() not in own},
                body=await request.aread() or None,
                timeout=min(STEP_SECONDS, left),
                max_bytes=MAX_BYTES,
                truncate=True,
                allow_private=self._client.allow_private,
                owner=self._client.owner,
            )
        except CallFailed as error:
            host = request.url.host
            raise httpx2.ConnectError(f"{host} {error.reason}") from None
        kept = {name: value for name, value in response.headers.items() if name not in own}
        return httpx2.Response(response.status, headers=kept, content=response.body)


def _sentence(error: Exception) -> str:
    """Returns a sentence about a failure. Bodies of foreign servers are left out: what follows the first colon of the
    library's sentences."""
    if isinstance(error, httpx2.TransportError):
        return f"The authorization failed: {error}"
    if isinstance(error, OAuthFlowError):
        reason = str(error).partition(": ")[0].rstrip(".")
        return f"The authorization failed: {reason[:300]}."
    return "The authorization failed: a server answered with what is no OAuth."
