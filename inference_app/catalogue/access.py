"""What a tenant may use, from the rows that an operator keeps; a tenant without a row may use everything.

Held in memory and replaced as a whole (`inference_app.operator.operator_settings`), so that a request asks no database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from inference_app.catalogue.resolution import Candidate, Resolution
from tenants_app.principal import DEFAULT_TENANT, Principal


@dataclass(frozen=True, slots=True)
class TenantAccess:
    """`patterns` are of shell's kind, over `provider:model` and the public name; empty allows everything.
    `substitution` None takes the gateway's default."""

    patterns: tuple[str, ...] = ()
    substitution: bool | None = None


_ACCESS: dict[int, TenantAccess] = {}


def access_replace(access: Mapping[int, TenantAccess]) -> None:
    """The rows as they are now, by tenant."""
    _ACCESS.clear()
    _ACCESS.update(access)


def is_allowed(tenant_id: int, candidate: Candidate, name: str) -> bool:
    """Whether the tenant may use the candidate, asked for as `name`."""
    access = _ACCESS.get(tenant_id)
    if access is None or not access.patterns:
        return True
    return any(fnmatchcase(candidate.name, pattern) or fnmatchcase(name, pattern) for pattern in access.patterns)


def candidates_allowed(tenant_id: int, resolution: Resolution, name: str) -> list[Candidate]:
    """Those that the tenant may use of where `name` leads."""
    return [candidate for candidate in resolution.candidates if is_allowed(tenant_id, candidate, name)]


def substitution_allowed(principal: Principal) -> bool:
    """Whether an unknown model may be served by the fallback chain: on for the tenant `default` alone, unless said."""
    access = _ACCESS.get(principal.tenant_id)
    if access is not None and access.substitution is not None:
        return access.substitution
    return principal.tenant_slug == DEFAULT_TENANT
