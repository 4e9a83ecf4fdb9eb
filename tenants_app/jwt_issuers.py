"""Issuers of tokens that the operator has configured, and the tenant that a verified token belongs to.

GATEWAY_JWT_* name the gateway's issuer: its tokens belong to the tenant `default`, or with GATEWAY_JWT_TENANT_CLAIM to
the tenant whose slug that claim has. A tenant's setting `jwt` names an issuer for it, which may serve several tenants
when each of them names a claim and its value. Only the operator changes tenants' settings. A token that two tenants
could claim belongs to neither, so a mistake in one tenant's settings never brings it another tenant's users.

All issuers are read with one query and kept as long as keys are (GATEWAY_KEY_CACHE_SECONDS); a change of a tenant in
this process counts at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from core_app import database
from core_app.errors import BadRequest, Conflict
from core_app.lifecycle import process_wide
from tenants_app.models import Tenant
from tenants_app.principal import (
    AGENTS_READ,
    AGENTS_WRITE,
    APPROVALS,
    DEFAULT_TENANT,
    INFERENCE,
    SESSIONS,
    TASKS,
)

CLAIMS = ("sub", "scope", "end_user", "tenant")
"""The facts that a token may tell; an issuer's `claims` name the claims that have them."""

GRANTABLE = frozenset({SESSIONS, APPROVALS, INFERENCE, TASKS, AGENTS_READ, AGENTS_WRITE})
"""Scopes that a token may have. Administration needs a key or a user of the gateway."""

ALIASES: Mapping[str, frozenset[str]] = {
    "api:read": frozenset({SESSIONS, APPROVALS, INFERENCE}),
    "api:write": frozenset({SESSIONS, APPROVALS, INFERENCE}),
}
"""Scopes of other gateways, and what they stand for here."""

_FIELDS = {"issuer", "audience", "jwks_url", "claims", "tenant", "scopes"}


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer whose tokens are taken. `claims` maps names of CLAIMS to the token's claims; `scopes` maps scopes of
    the issuer to those that they stand for.

    Without `tenant` the claim names the tenant. With it, the claim must have `tenant_value` if one is named.
    """

    issuer: str
    audience: str
    jwks_url: str
    tenant: Tenant | None
    claims: Mapping[str, str] = field(default_factory=dict)
    tenant_value: str = ""
    scopes: Mapping[str, frozenset[str]] = field(default_factory=lambda: ALIASES)

    @property
    def key_source(self) -> tuple[str, str, str]:
        """Issuers that share it verify a token alike."""
        return self.issuer, self.audience, self.jwks_url

    def claim(self, claims: Mapping[str, Any], name: str) -> Any:
        """Returns what a token tells of one of CLAIMS; None where nothing does."""
        standard = name if name in ("sub", "scope") else ""
        return claims.get(self.claims.get(name, standard))

    def slug(self, claims: Mapping[str, Any]) -> str | None:
        """Returns the slug of the tenant that a verified token belongs to, as far as this issuer knows."""
        told = self.claim(claims, "tenant")
        if self.tenant is None:
            return told if isinstance(told, str) and told else None
        if "tenant" in self.claims and told != self.tenant_value:
            return None
        return self.tenant.slug


class Issuers:
    """The issuers of this process by name. Thread-safe; all are read together, so a made-up name costs nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._generation = 0
        self._loaded_at: float | None = None
        self._by_name: Mapping[str, list[Issuer]] = {}
        self._tenants: dict[str, Tenant | None] = {}

    def clear(self) -> None:
        """Forgets them; a load in progress is not kept."""
        with self._guard:
            self._generation += 1
            self._loaded_at = None
            self._tenants = {}

    async def find(self, name: str) -> list[Issuer]:
        """Returns the issuers of this name; queries the database only when what is known is too old."""
        if self._is_fresh():
            return self._by_name.get(name, [])
        return (await database.run(self._load)).get(name, [])

    async def tenant(self, slug: str) -> Tenant | None:
        """Returns the tenant of this slug, which a verified token has named."""
        if self._is_fresh() and slug in self._tenants:
            return self._tenants[slug]
        return await database.run(self._load_tenant, slug)

    def _is_fresh(self) -> bool:
        loaded_at = self._loaded_at
        return loaded_at is not None and self._clock() - loaded_at < settings.GATEWAY_KEY_CACHE_SECONDS

    def _load(self) -> Mapping[str, list[Issuer]]:
        generation, began = self._generation, self._clock()
        found: dict[str, list[Issuer]] = {}
        for issuer in _configured():
            found.setdefault(issuer.issuer, []).append(issuer)
        with self._guard:
            if generation == self._generation:
                self._by_name, self._loaded_at, self._tenants = found, began, {}
        return found

    def _load_tenant(self, slug: str) -> Tenant | None:
        generation = self._generation
        tenant = Tenant.objects.filter(slug=slug).first()
        with self._guard:
            if generation == self._generation:
                self._tenants[slug] = tenant
        return tenant


ISSUERS = process_wide(Issuers(), reset=Issuers.clear)
"""Process-wide instance; `keys_forget` clears it."""


def jwt_setting_check(setting: Any, *, tenant_id: int | None, slug: str) -> None:
    """Raises BadRequest for a tenant's setting `jwt` of another form, and Conflict for one that takes tokens which
    another tenant takes."""
    own = _parse(setting, None, slug)
    for other in _configured():
        if other.key_source != own.key_source or (other.tenant is not None and other.tenant.pk == tenant_id):
            continue
        apart = (
            other.tenant is not None
            and "tenant" in own.claims
            and own.claims["tenant"] == other.claims.get("tenant")
            and own.tenant_value != other.tenant_value
        )
        if not apart:
            raise Conflict(
                "The setting 'jwt' takes tokens that another tenant takes: the tenants of one issuer name the same"
                " 'claims.tenant' and different values in 'tenant'.",
                field="settings.jwt",
            )


def _configured() -> Iterator[Issuer]:
    own = _own()
    if own is not None:
        yield own
    for tenant in Tenant.objects.filter(settings__has_key="jwt", disabled_at=None).order_by("pk"):
        try:
            yield _parse(tenant.settings["jwt"], tenant, tenant.slug)
        except BadRequest:  # stored before it was checked: such a setting lets nobody in
            continue


def _own() -> Issuer | None:
    name, audience, url = settings.GATEWAY_JWT_ISSUER, settings.GATEWAY_JWT_AUDIENCE, settings.GATEWAY_JWT_JWKS_URL
    if not (name and audience and url):
        return None
    if settings.GATEWAY_JWT_TENANT_CLAIM:
        return Issuer(name, audience, url, None, {"tenant": settings.GATEWAY_JWT_TENANT_CLAIM})
    tenant = Tenant.objects.filter(slug=DEFAULT_TENANT).first()
    return None if tenant is None else Issuer(name, audience, url, tenant)


def _parse(setting: Any, tenant: Tenant | None, slug: str) -> Issuer:
    """Raises BadRequest that names the part at fault."""
    if not isinstance(setting, dict) or not setting.keys() <= _FIELDS:
        raise _fault(f"is an object with {', '.join(sorted(_FIELDS))}")
    for name in ("issuer", "audience", "jwks_url"):
        if not isinstance(setting.get(name), str) or not setting[name]:
            raise _fault(f"needs '{name}', a text")
    claims = setting.get("claims") or {}
    if not _is_texts(claims) or not claims.keys() <= set(CLAIMS):
        raise _fault(f"has 'claims', an object from {', '.join(CLAIMS)} to names of claims")
    value = setting.get("tenant") or slug
    if not isinstance(value, str):
        raise _fault("has 'tenant', a text: the value that the claim of 'claims.tenant' must have")
    scopes = setting.get("scopes") or {}
    if not isinstance(scopes, dict) or not all(
        isinstance(granted, list) and GRANTABLE.issuperset(map(str, granted)) for granted in scopes.values()
    ):
        raise _fault(f"has 'scopes', an object from the issuer's scopes to lists of {', '.join(sorted(GRANTABLE))}")
    named = {name: frozenset(granted) for name, granted in scopes.items()}
    return Issuer(
        setting["issuer"], setting["audience"], setting["jwks_url"], tenant, claims, value, {**ALIASES, **named}
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(claim, str) and claim for claim in value.values())


def _fault(text: str) -> BadRequest:
    where = 'docs/configuration.md, "Tokens of an issuer"'
    return BadRequest(f"The tenant's setting 'jwt' {text} ({where}).", field="settings.jwt")
