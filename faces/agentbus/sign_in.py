"""Signing in: the request `connect`, and the ways to prove who is calling (docs/protocol-agentbus.md, "Signing in").

The parameters say which way a client takes: a session token, an API key, a device's signature, a password, or none of
them for Tailscale. Failed attempts are counted per address and identity, in all processes; successful ones are not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from django.conf import settings
from django.contrib.auth import authenticate

from core_app import database
from core_app.errors import BadRequest, Forbidden, Unauthorized
from core_app.shares import NOBODY, Claim
from edge_app.gate.failed_keys import FAILED_KEYS
from edge_app.http.asgi import Scope
from faces.agentbus.parameters import Parameters, parser
from faces.agentbus.tailscale import is_foreign_page, tailscale_login
from tenants_app.authentication import aprincipal_for_credential, principal_for_guest, principal_for_user
from tenants_app.lockout import LOCKOUT
from tenants_app.models import Tenant, User
from tenants_app.principal import DEFAULT_TENANT, TAILSCALE_USER, Principal
from tenants_app.secret import secret_hash
from tenants_app.services.bootstrap import GATEWAY_USER
from tenants_app.services.connection_token import (
    IssuedConnectionToken,
    connection_token_issue,
    connection_token_use,
)
from tenants_app.services.device import device_recognise

CLOCK_SECONDS = 300
"""The greatest error of a device's clock."""

MAX_CAPABILITIES = 64
MAX_TEXT = 200
"""Characters of `client_name`, `version` and `platform`, which are kept and shown to the tenant's clients."""

PASSWORD = "password"  # noqa: S105  (the name of a way to sign in)


class ConnectParameters(Parameters):
    """The parameters of `connect`. `timestamp` is a number or text; `last_seq` has positions by session id."""

    client_id: str
    client_name: str = ""
    version: str | None = None
    platform: str | None = None
    capabilities: list[str] = []
    auth_token: str | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    nonce: str | None = None
    timestamp: float | int | str | None = None
    signature: str | None = None
    session_token: str | None = None
    last_seq: dict[str, int | str] | None = None
    timestamp_literal: str | None = None
    """`timestamp` as the frame has it; set by the connection, never by the client."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A caller that has signed in. `token` is the session token with which its client may resume."""

    principal: Principal
    method: str
    token_id: int
    token: str
    expires_at: float


_parse = parser(ConnectParameters)


def parse_connect(params: Mapping[str, Any]) -> ConnectParameters:
    """Returns the parameters of a `connect`; raises BadRequest."""
    connect = _parse(params)
    if not 0 < len(connect.client_id) <= 128 or not connect.client_id.isprintable():
        raise BadRequest("'client_id' has 1 to 128 visible characters.", field="client_id")
    for field in ("client_name", "version", "platform"):
        if len(getattr(connect, field) or "") > MAX_TEXT:
            raise BadRequest(f"'{field}' has at most {MAX_TEXT} characters.", field=field)
    if len(connect.capabilities) > MAX_CAPABILITIES or any(len(name) > 64 for name in connect.capabilities):
        raise BadRequest(f"At most {MAX_CAPABILITIES} capabilities of 64 characters.", field="capabilities")
    return connect


class _Params(msgspec.Struct):
    timestamp: msgspec.Raw = msgspec.Raw()


class _Frame(msgspec.Struct):
    params: _Params | None = None


def timestamp_literal(frame: bytes) -> str | None:
    """Returns the parameter `timestamp` as the frame has it: a device signs `1.7e9` as `1.7e9`, which a parsed number
    no longer tells. None for a text, and where there is none."""
    try:
        params = msgspec.json.decode(frame, type=_Frame).params
    except msgspec.MsgspecError:
        return None
    literal = bytes(params.timestamp).decode() if params is not None else ""
    return literal if literal and literal[0] != '"' else None


async def sign_in(connect: ConnectParameters, *, scope: Scope, nonce: str) -> SignedIn:
    """Returns the caller; raises Unauthorized, Forbidden for a way that is switched off, and RateLimited for an address
    that has failed too often under this identity. `nonce` is the challenge of this connection."""
    way = _way_of(connect)
    address = str((scope.get("client") or ("",))[0])

    async def attempt() -> SignedIn | Principal:
        async with LOCKOUT.attempt(address, way.identity):
            if way.method == "session":
                return await _resume(connect)
            _require_mode(way.method)
            return await _authenticate(way.method, connect, scope, nonce)

    # Beside the pair's lock: whoever changes the identity with each attempt is counted by address alone.
    found = await FAILED_KEYS.check(scope, way.credential, attempt)
    if isinstance(found, SignedIn):
        return found
    return await _issue_token(found, way.method, connect.client_id)


async def _resume(connect: ConnectParameters) -> SignedIn:
    assert connect.session_token is not None
    resumed = await database.run(connection_token_use, connect.session_token)
    return SignedIn(
        resumed.principal,
        resumed.method,
        resumed.token_id,
        connect.session_token,
        resumed.expires_at.timestamp(),
    )


async def _issue_token(principal: Principal, method: str, client_id: str) -> SignedIn:
    issued: IssuedConnectionToken = await database.run(_issue, principal, method, client_id)
    return SignedIn(principal, method, issued.token_id, issued.secret, issued.expires_at.timestamp())


def _issue(principal: Principal, method: str, client_id: str) -> IssuedConnectionToken:
    return connection_token_issue(principal=principal, method=method, client_id=client_id)


class _Way(NamedTuple):
    """The way that a client takes, the identity under which its failures count, and what it proves itself with."""

    method: str
    identity: str
    credential: str


def _way_of(connect: ConnectParameters) -> _Way:
    """Returns the way that the parameters choose."""
    if connect.session_token is not None:
        return _Way("session", f"session {secret_hash(connect.session_token)}", connect.session_token)
    if connect.auth_token is not None:
        return _Way("token", f"token {secret_hash(connect.auth_token)}", connect.auth_token)
    if connect.device_id is not None:
        identity = f"device {connect.device_id[:128]}"
        return _Way("device", identity, f"{identity} {connect.signature}")
    if connect.password is not None:
        identity = user_identity(connect.username or GATEWAY_USER)
        return _Way(PASSWORD, identity, f"{identity} {connect.password}")
    return _Way("tailscale", "tailscale", "tailscale")


def _require_mode(method: str) -> None:
    if method == "tailscale" and not settings.GATEWAY_ALLOW_TAILSCALE:
        raise Unauthorized("'connect' needs a credential: auth_token, password, a device's signature or session_token.")
    if method != "tailscale" and method not in settings.GATEWAY_AUTH_MODES:
        raise Forbidden(f"Signing in by {method} is switched off (GATEWAY_AUTH_MODES).")


async def _authenticate(method: str, connect: ConnectParameters, scope: Scope, nonce: str) -> Principal:
    if method == "token":
        return await aprincipal_for_credential(connect.auth_token)
    if method == "device":
        return await database.run(_device, connect, nonce)
    if method == PASSWORD:
        return await aprincipal_of_user(connect.username or GATEWAY_USER, connect.password or "")
    if is_foreign_page(scope):
        raise Unauthorized("A web page signs in through the tailnet from origins that GATEWAY_CORS_ORIGINS names only.")
    login = await tailscale_login(scope)
    return await database.run(_tailscale_user, login)


def _device(connect: ConnectParameters, nonce: str) -> Principal:
    refused = Unauthorized("The device is not known, or its signature is not good.")
    if connect.nonce is None or connect.timestamp is None or connect.signature is None or connect.device_id is None:
        raise BadRequest("A device sends 'device_id', 'nonce', 'timestamp' and 'signature'.", field="signature")
    if connect.nonce != nonce:
        raise refused
    try:
        moment = float(connect.timestamp)
    except ValueError:
        raise BadRequest("'timestamp' is a number of seconds.", field="timestamp") from None
    if not abs(time.time() - moment) <= CLOCK_SECONDS:
        raise Unauthorized(f"'timestamp' is more than {CLOCK_SECONDS} s off: check the device's clock.")
    stamp = connect.timestamp_literal or str(connect.timestamp)
    message = f"{connect.device_id}:{nonce}:{stamp}".encode()
    return device_recognise(device_id=connect.device_id, message=message, signature=connect.signature)


def user_identity(name: str) -> str:
    """Returns the identity under which failures of a user's name count."""
    return f"user {name.casefold()[:150]}"


async def aprincipal_of_user(username: str, password: str) -> Principal:
    """Returns the principal of a user of a tenant; raises Unauthorized. A password takes a thread for a fifth of a
    second, so those of strangers share what one tenant may have, and Unavailable is raised when too many wait."""
    return await database.run_action(Claim(NOBODY), _principal_of_user, username, password)


def _principal_of_user(username: str, password: str) -> Principal:
    user = authenticate(username=username, password=password)
    if not isinstance(user, User) or user.tenant is None:
        raise Unauthorized("User name or password is wrong.")
    return principal_for_user(user)


def _tailscale_user(login: str | None) -> Principal:
    tenant = Tenant.objects.filter(slug=DEFAULT_TENANT).first()
    principal = None
    if login is not None and tenant is not None:
        principal = principal_for_guest(tenant, guest="tailscale", name=login, scopes=frozenset({TAILSCALE_USER}))
    if principal is None:
        raise Unauthorized("This address belongs to nobody in the tailnet.")
    return principal
