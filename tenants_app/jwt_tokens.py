"""JSON Web Tokens of issuers that the operator has configured, in place of API keys, on every face.

A token's holder is a guest of its tenant (`tenants_app.jwt_issuers` says which): the issuer vouches for it. Only
signatures by RS256 and ES256 count, and the algorithm is that of the key, not of the token. A token acts until it
expires, on open streams and sockets too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jwt
import structlog

from core_app.errors import Unauthorized
from tenants_app.authentication import principal_for_guest
from tenants_app.jwt_issuers import GRANTABLE, ISSUERS, Issuer
from tenants_app.jwt_keys import ALGORITHMS, JWK_SETS
from tenants_app.models import Tenant
from tenants_app.principal import JWT_GUEST, Principal

LEEWAY_SECONDS = 30.0
"""The difference between the issuer's clock and this one that is put up with."""

MAX_NAME_CHARACTERS = 100
MAX_END_USER_CHARACTERS = 200

logger = structlog.get_logger("gateway.jwt")


async def aprincipal_for_jwt(token: str) -> Principal:
    """Returns the token's holder. Raises Unauthorized, and Unavailable when the issuer's keys cannot be had."""
    try:
        header = jwt.get_unverified_header(token)
        claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except jwt.PyJWTError:
        raise _refusal() from None
    # `crit` names extensions that must be understood, and none is here.
    if header.get("alg") not in ALGORITHMS or "crit" in header or not isinstance(claimed, str) or not claimed:
        raise _refusal()
    key_id = header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise _refusal()
    found: dict[str, tuple[Issuer, Mapping[str, Any]]] = {}
    # Verified once for all tenants that share the issuer.
    verified: dict[tuple[str, str, str], Mapping[str, Any] | None] = {}
    for issuer in await ISSUERS.find(claimed):
        if issuer.key_source not in verified:
            verified[issuer.key_source] = await _verify(token, key_id, issuer)
        claims = verified[issuer.key_source]
        if claims is not None and (slug := issuer.slug(claims)) is not None:
            found.setdefault(slug, (issuer, claims))
    if len(found) > 1:
        logger.warning("jwt_ambiguous", issuer=claimed, tenants=sorted(found))
    if len(found) != 1:
        raise _refusal()
    ((slug, (issuer, claims)),) = found.items()
    tenant = issuer.tenant or await ISSUERS.tenant(slug)
    if tenant is None:
        raise _refusal()
    return _holder(tenant, issuer, claims)


async def _verify(token: str, key_id: str | None, issuer: Issuer) -> Mapping[str, Any] | None:
    """Returns the claims of a token that this issuer has signed; None for any other."""
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
        float(claims["exp"])
    except (jwt.PyJWTError, ValueError, OverflowError, TypeError):  # the library passes on some of Python's own
        return None
    return claims


def _holder(tenant: Tenant, issuer: Issuer, claims: Mapping[str, Any]) -> Principal:
    name = issuer.claim(claims, "sub")
    end_user = issuer.claim(claims, "end_user")
    principal = principal_for_guest(
        tenant,
        guest=JWT_GUEST,
        name=(str(name) if name else "anonymous")[:MAX_NAME_CHARACTERS],
        scopes=_scopes(issuer, issuer.claim(claims, "scope")),
    )
    if principal is None:
        raise _refusal()
    told = end_user if isinstance(end_user, str) and end_user else None
    if told is None and "end_user" in issuer.claims:
        # Without the person, what they say could neither be attributed nor erased.
        raise _refusal()
    return replace(
        principal,
        expires_at=float(claims["exp"]) + LEEWAY_SECONDS,
        end_user=told and told[:MAX_END_USER_CHARACTERS],
    )


def _scopes(issuer: Issuer, given: Any) -> frozenset[str]:
    names = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    found = [issuer.scopes.get(name, frozenset({name})) for name in names if isinstance(name, str)]
    return frozenset().union(*found) & GRANTABLE


def _refusal() -> Unauthorized:
    return Unauthorized("The token is not good: its issuer, audience, signature or time is wrong.")
