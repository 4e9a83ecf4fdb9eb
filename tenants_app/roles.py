"""The roles of people in a tenant: named sets of scopes, each with everything of the one before it.

A role is held in one tenant. People from before there were roles have scopes of their own in their tenant, and count as
the highest role that these scopes amount to (`role_of`).
"""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from core_app.errors import BadRequest
from core_app.jsontext import clean_text
from tenants_app.principal import (
    ADMIN,
    AGENTS_READ,
    AGENTS_WRITE,
    APPROVALS,
    INFERENCE,
    OPERATOR,
    QUESTIONS,
    SESSIONS,
    SESSIONS_READ,
    TASKS,
    TASKS_READ,
    USAGE_READ,
    WEBHOOKS,
    Principal,
)

VIEWER, REVIEWER, OPERATOR_ROLE, ADMIN_ROLE = "viewer", "reviewer", "operator", "admin"

_READ = frozenset({SESSIONS_READ, TASKS_READ, AGENTS_READ, USAGE_READ})
_REVIEW = _READ | {APPROVALS, QUESTIONS}
_OPERATE = _REVIEW | {SESSIONS, INFERENCE, TASKS, AGENTS_WRITE, WEBHOOKS, OPERATOR}

ROLES: Mapping[str, frozenset[str]] = {
    VIEWER: _READ,
    REVIEWER: _REVIEW,
    OPERATOR_ROLE: _OPERATE,
    ADMIN_ROLE: _OPERATE | {ADMIN},
}
"""The roles by name, the least first, with their scopes."""

_MARKS: Mapping[str, str] = {VIEWER: SESSIONS_READ, REVIEWER: APPROVALS, OPERATOR_ROLE: OPERATOR, ADMIN_ROLE: ADMIN}
"""The scope that tells a role from the one below it."""


def role_check(role: str) -> str:
    """Returns the role; raises BadRequest, which names the roles, for another word."""
    if role not in ROLES:
        raise BadRequest(f"'{clean_text(role)[:40]}' is no role: {', '.join(ROLES)}.", field="role")
    return role


def role_of(principal: Principal) -> str | None:
    """Returns the highest role whose mark the principal has; None for one that may not even read sessions."""
    if not principal.allows(SESSIONS_READ):
        return None
    return next(role for role in reversed(list(ROLES)) if principal.allows(_MARKS[role]))


def role_reaches(role: str | None, needed: str) -> bool:
    """True when `role` is `needed` or above it."""
    names = list(ROLES)
    return role is not None and names.index(role) >= names.index(needed)


def group_roles() -> dict[str, list[tuple[str, str]]]:
    """Returns GATEWAY_OIDC_GROUP_ROLES: tenants and roles by group. Raises ValueError with the entry that is wrong."""
    found: dict[str, list[tuple[str, str]]] = {}
    for entry in settings.GATEWAY_OIDC_GROUP_ROLES:
        group, is_pair, target = entry.rpartition("=")
        slug, is_role, role = target.partition(":")
        if not (group and is_pair and slug and is_role and role in ROLES):
            raise ValueError(entry)
        found.setdefault(group.strip(), []).append((slug, role))
    return found
