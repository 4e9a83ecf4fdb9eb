"""HTTP Basic credentials: a user of a tenant, in place of an API key (RFC 7617)."""

from __future__ import annotations

import base64
import binascii

from core_app import database
from core_app.errors import Unauthorized
from edge_app.http.asgi import Scope, header
from faces.agentbus.sign_in import principal_of_user, user_identity
from tenants_app.lockout import LOCKOUT
from tenants_app.principal import Principal

MAX_HEADER = 1024


async def basic_principal(scope: Scope) -> Principal | None:
    """Returns the user of `Authorization: Basic`; None without such a header. Raises Unauthorized, and RateLimited for
    an address that has failed too often under this name."""
    scheme, _, encoded = (header(scope, b"authorization") or b"").strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    name, password = _decode(encoded)
    address = str((scope.get("client") or ("",))[0])
    await LOCKOUT.check(address, user_identity(name))
    try:
        return await database.run(principal_of_user, name, password)
    except Unauthorized:
        await LOCKOUT.count_failure(address, user_identity(name))
        raise


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
