"""Credentials of a socket other than a key in a header: `?token=`, and none at all from this machine.

`?token=` takes an API key or a stream token, told apart by their form.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings

from core_app import database
from edge_app.http.asgi import Scope, header
from edge_app.tokens import StreamTokens, TokenRoute
from sessions_app.models import AgentSession
from tenants_app.authentication import aprincipal_for_secret, principal_for_guest, query_parameter
from tenants_app.models import Tenant
from tenants_app.principal import DEFAULT_TENANT, SESSIONS, Principal

_PATH = re.compile(r"(?:/api/v1)?/ws/([^/]+)\Z")

_STREAM_TOKENS = StreamTokens(
    TokenRoute(
        path=_PATH,
        streams=lambda match: AgentSession.objects.filter(public_id=match.group(1)).values("stream_id"),
        sessions=lambda match: AgentSession.objects.filter(public_id=match.group(1)).values("pk"),
        refusal="The stream token is not known for this session, or no longer good.",
    )
)

_STREAM_TOKEN = "agt_"  # noqa: S105  # the beginning of every stream token

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


async def codelab_principal(scope: Scope) -> Principal | None:
    """Returns the caller of a socket that shows no key in a header; None for nobody. Raises Unauthorized."""
    if scope["type"] != "websocket" or _PATH.match(scope["path"]) is None:
        return None
    token = query_parameter(scope, "token")
    if token is None:
        return await database.run(_anonymous) if _is_local(scope) else None
    if token.startswith(_STREAM_TOKEN):
        return await _STREAM_TOKENS(scope)
    return await aprincipal_for_secret(token)


def _is_local(scope: Scope) -> bool:
    """Returns True for a program on this machine where GATEWAY_ALLOW_ANONYMOUS_LOOPBACK lets it in. What came through a
    proxy is not from here, and neither is a page of another host that a browser on this machine shows."""
    if not settings.GATEWAY_ALLOW_ANONYMOUS_LOOPBACK or any(header(scope, name) for name in _FORWARDED):
        return False
    address = str((scope.get("client") or ("",))[0])
    return _is_loopback(address) and _is_local_origin(header(scope, b"origin"))


def _is_local_origin(origin: bytes | None) -> bool:
    if origin is None:
        return True
    url = urlsplit(origin.decode("latin-1"))
    return url.hostname == "localhost" or _is_loopback(url.hostname or "") or url.scheme.startswith("vscode-")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _anonymous() -> Principal | None:
    tenant = Tenant.objects.filter(slug=DEFAULT_TENANT).first()
    if tenant is None:
        return None
    scopes = frozenset({SESSIONS})
    return principal_for_guest(tenant, guest="loopback", name="anonymous", scopes=scopes)
