"""Tenants' access to models, as the operator has set it; a tenant without a setting may use every model.

The settings are in memory and replaced as a whole (`inference_app.operator.operator_settings`), so that no request
queries the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from inference_app.catalogue.resolution import Candidate, Resolution
from tenants_app.principal import Principal


@dataclass(frozen=True, slots=True)
class TenantAccess:
    """One tenant's access. `patterns` are shell patterns that match `provider:model` or the public name; empty allows
    every model. `substitution` None means no."""

    patterns: tuple[str, ...] = ()
    substitution: bool | None = None


_ACCESS: dict[int, TenantAccess] = {}


def access_replace(access: Mapping[int, TenantAccess]) -> None:
    """Replaces the access of all tenants; the keys are tenants' ids."""
    _ACCESS.clear()
    _ACCESS.update(access)


def is_allowed(tenant_id: int, candidate: Candidate, name: str) -> bool:
    """Returns True if the tenant may use the candidate in a request for `name`."""
    access = _ACCESS.get(tenant_id)
    if access is None or not access.patterns:
        return True
    return any(fnmatchcase(candidate.name, pattern) or fnmatchcase(name, pattern) for pattern in access.patterns)


def candidates_allowed(tenant_id: int, resolution: Resolution, name: str) -> list[Candidate]:
    """Returns the candidates for `name` that the tenant may use, in their order. A model of the fallback chain has to
    be allowed under a name of its own, because a tenant chooses the name that it replaces."""
    return [
        candidate
        for candidate in resolution.candidates
        if is_allowed(tenant_id, candidate, candidate.model if resolution.substituted else name)
    ]


def substitution_allowed(principal: Principal) -> bool:
    """Returns True if the fallback chain may serve unknown models: only where the operator has switched it on."""
    access = _ACCESS.get(principal.tenant_id)
    return access is not None and access.substitution is True
