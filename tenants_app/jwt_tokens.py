"""JSON Web Tokens of issuers that tenants trust, in place of API keys, on every face.

A tenant's setting `jwt` names its issuer; GATEWAY_JWT_* configure one for the tenant `default`. A token's holder is a
guest of the tenant: the issuer vouches for it. Only signatures by RS256 and ES256 count, and the algorithm is that of
the key, not of the token. A token acts until it expires, on open streams and sockets too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jwt
from django.conf import settings

from core_app import database
from core_app.errors import Unauthorized
from tenants_app.authentication import principal_for_guest
from tenants_app.jwt_keys import ALGORITHMS, JWK_SETS
from tenants_app.models import Tenant
from tenants_app.principal import (
    AGENTS_READ,
    AGENTS_WRITE,
    APPROVALS,
    DEFAULT_TENANT,
    INFERENCE,
    SESSIONS,
    TASKS,
    Principal,
)

LEEWAY_SECONDS = 30.0
"""The difference between the issuer's clock and this one that is put up with."""

MAX_NAME_CHARACTERS = 100

GRANTABLE = frozenset({SESSIONS, APPROVALS, INFERENCE, TASKS, AGENTS_READ, AGENTS_WRITE})
"""Scopes that a token may have. Administration needs a key or a user of the gateway."""

ALIASES: Mapping[str, frozenset[str]] = {
    "api:read": frozenset({SESSIONS, APPROVALS, INFERENCE}),
    "api:write": frozenset({SESSIONS, APPROVALS, INFERENCE}),
}
"""Scopes of other gateways, and what they stand for here."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer that a tenant trusts. `claims` says where a token has the end user (`sub`) and the scopes (`scope`)."""

    tenant: Tenant
    issuer: str
    audience: str
    jwks_url: str
    claims: Mapping[str, str] = field(default_factory=dict)


async def aprincipal_for_jwt(token: str) -> Principal:
    """Returns the token's holder. Raises Unauthorized, and Unavailable when the issuer's keys cannot be had."""
    try:
        header = jwt.get_unverified_header(token)
        claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except jwt.PyJWTError:
        raise _refusal() from None
    if header.get("alg") not in ALGORITHMS or not isinstance(claimed, str) or not claimed:
        raise _refusal()
    for issuer in await database.run(_issuers, claimed):
        if (claims := await _verify(token, header.get("kid"), issuer)) is not None:
            return _holder(issuer, claims)
    raise _refusal()


async def _verify(token: str, key_id: Any, issuer: Issuer) -> Mapping[str, Any] | None:
    """Returns the claims of a token that this issuer has signed; None for any other."""
    if key_id is not None and not isinstance(key_id, str):
        return None
    key = await JWK_SETS.key(issuer.jwks_url, key_id)
    if key is None:
        return None
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=issuer.issuer,
            audience=issuer.audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud"]},
        )
    except jwt.PyJWTError:
        return None
    return claims


def _issuers(claimed: str) -> list[Issuer]:
    """Returns the issuers of this name that tenants trust, the gateway's own first."""
    found = []
    own = Issuer(
        Tenant(),
        settings.GATEWAY_JWT_ISSUER,
        settings.GATEWAY_JWT_AUDIENCE,
        settings.GATEWAY_JWT_JWKS_URL,
    )
    if own.issuer == claimed and own.audience and own.jwks_url:
        found += [replace(own, tenant=tenant) for tenant in Tenant.objects.filter(slug=DEFAULT_TENANT)]
    for tenant in Tenant.objects.filter(settings__jwt__issuer=claimed, disabled_at=None).order_by("pk"):
        named = tenant.settings["jwt"]
        if named.get("audience") and named.get("jwks_url"):
            claims = {name: str(claim) for name, claim in (named.get("claims") or {}).items()}
            found.append(Issuer(tenant, claimed, named["audience"], named["jwks_url"], claims))
    return found


def _holder(issuer: Issuer, claims: Mapping[str, Any]) -> Principal:
    name = claims.get(issuer.claims.get("sub", "sub"))
    principal = principal_for_guest(
        issuer.tenant,
        guest="jwt",
        name=(str(name) if name else "anonymous")[:MAX_NAME_CHARACTERS],
        scopes=_scopes(claims.get(issuer.claims.get("scope", "scope"))),
    )
    if principal is None:
        raise _refusal()
    return replace(principal, expires_at=float(claims["exp"]) + LEEWAY_SECONDS)


def _scopes(given: Any) -> frozenset[str]:
    names = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    found = [ALIASES.get(name, frozenset({name})) for name in names if isinstance(name, str)]
    return frozenset().union(*found) & GRANTABLE


def _refusal() -> Unauthorized:
    return Unauthorized("The token is not good: its issuer, audience, signature or time is wrong.")
