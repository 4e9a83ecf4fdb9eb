"""HTTP Basic credentials: a user of a tenant, in place of an API key (RFC 7617)."""

from __future__ import annotations

import base64
import binascii

from django.conf import settings

from core_app.errors import Unauthorized
from edge_app.http.asgi import Scope, header
from faces.agentbus.sign_in import PASSWORD, aprincipal_of_user, user_identity
from tenants_app.lockout import LOCKOUT
from tenants_app.principal import Principal

MAX_HEADER = 1024


async def basic_principal(scope: Scope) -> Principal | None:
    """Returns the user of `Authorization: Basic`; None without such a header. Raises Unauthorized, also where
    GATEWAY_AUTH_MODES has no passwords, and RateLimited for an address that has failed too often under this name."""
    scheme, _, encoded = (header(scope, b"authorization") or b"").strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    if PASSWORD not in settings.GATEWAY_AUTH_MODES:
        raise Unauthorized("Basic credentials are switched off (GATEWAY_AUTH_MODES): send an API key.")
    name, password = _decode(encoded)
    address = str((scope.get("client") or ("",))[0])
    async with LOCKOUT.attempt(address, user_identity(name)):
        return await aprincipal_of_user(name, password)


def _decode(encoded: bytes) -> tuple[str, str]:
    try:
        if len(encoded) > MAX_HEADER:
            raise ValueError
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise Unauthorized("The Basic credential is not base64 of 'user:password'.") from None
    if not colon:
        raise Unauthorized("The Basic credential is not base64 of 'user:password'.")
    return name, password
