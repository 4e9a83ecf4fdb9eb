"""Admission of a request by the caller's principal, for faces whose methods have scopes and count as requests."""

from __future__ import annotations

from typing import Any

from edge_app.rpc.dispatcher import Method
from tenants_app.limits import RATE_LIMITS
from tenants_app.principal import Principal


async def admit_principal(principal: Principal, method: Method[Any]) -> Principal:
    """Takes a counted request from the key's rate limit, then checks the method's scope. Returns the principal; raises
    RateLimited or Forbidden."""
    if method.counted and (limit := await RATE_LIMITS.take(principal)) is not None:
        limit.enforce()
    if method.scope is not None:
        principal.require(method.scope)
    return principal
