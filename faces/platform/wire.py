"""Objects as the platform face shows them. Secrets are in none of them; the responses that issue one add it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from core_app.clock import iso_ms
from core_app.errors import NotFound
from inference_app.models import Budget, Price
from inference_app.operator.providers_in_force import ProviderInForce
from tenants_app.models import ApiKey, AuditEntry, Tenant, User
from tenants_app.selectors.api_key import api_key_id, api_key_to_wire

_BUDGET = "bud_"
_MAX_DIGITS = 18
HIDDEN = "…"
"""In place of the value of a header."""


def tenant_to_wire(tenant: Tenant) -> dict[str, Any]:
    return {
        "slug": tenant.slug,
        "name": tenant.name,
        "disabled": tenant.disabled_at is not None,
        "settings": tenant.settings,
        "createdAt": iso_ms(tenant.created_at),
    }


def budget_pk_of(text: str) -> int:
    """Returns the row that an id names; raises NotFound for a text that is no id."""
    digits = text.removeprefix(_BUDGET)
    if not text.startswith(_BUDGET) or not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise NotFound("There is no budget with that id.")
    return int(digits)


def key_to_wire(key: ApiKey) -> dict[str, Any]:
    return {**api_key_to_wire(key), "tenant": key.tenant.slug}


def user_to_wire(user: User) -> dict[str, Any]:
    return {
        "username": user.username,
        "tenant": user.tenant.slug if user.tenant else None,
        "role": user_role(user),
        "scopes": user.scopes,
        "disabled": not user.is_active,
        "createdAt": iso_ms(user.date_joined),
        "lastSignInAt": _moment(user.last_login),
    }


def user_role(user: User) -> str:
    """Returns `superuser`, `staff` or `console`."""
    if user.is_superuser:
        return "superuser"
    return "staff" if user.is_staff else "console"


def provider_to_wire(provider: ProviderInForce) -> dict[str, Any]:
    entry, row = provider.entry, provider.row
    stored = None if row is None else {"entry": _shown_entry(row.entry), "enabled": row.enabled}
    return {
        "name": provider.name,
        "sources": list(provider.sources),
        "state": provider.state.state,
        "reason": provider.state.reason,
        "wire": entry.wire,
        "baseUrl": entry.base_url or None,
        "defaultModel": entry.default_model,
        "models": [model.id for model in entry.models],
        "keyFrom": provider.key_from,
        "stored": stored,
    }


def price_to_wire(price: Price) -> dict[str, Any]:
    return {
        "provider": price.provider,
        "model": price.model,
        "input": _number(price.input),
        "output": _number(price.output),
        "cached": _number(price.cached),
        "cacheWrite": _number(price.cache_write),
        "cacheWriteHour": _number(price.cache_write_hour),
    }


def budget_to_wire(budget: Budget) -> dict[str, Any]:
    return {
        "id": f"{_BUDGET}{budget.pk}",
        "tenant": budget.tenant.slug,
        "key": None if budget.api_key_id is None else api_key_id(budget.api_key_id),
        "model": budget.model or None,
        "period": budget.period,
        "tokens": budget.tokens,
        "usd": _number(budget.usd),
    }


def audit_to_wire(entry: AuditEntry) -> dict[str, Any]:
    return {
        "at": iso_ms(entry.at),
        "tenant": entry.tenant.slug if entry.tenant else None,
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "detail": entry.detail,
    }


def entry_with_hidden(entry: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an entry of a body with the stored values of the headers that it has as HIDDEN: clients send back what
    they were shown."""
    headers, known = entry.get("headers"), stored.get("headers")
    if not isinstance(headers, dict) or not isinstance(known, dict):
        return dict(entry)
    kept = {name: known.get(name, value) if value == HIDDEN else value for name, value in headers.items()}
    return {**entry, "headers": kept}


def _shown_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an entry without the values of its headers, which may be credentials."""
    headers = entry.get("headers")
    return {**entry, "headers": dict.fromkeys(headers, HIDDEN)} if isinstance(headers, dict) else dict(entry)


def _moment(value: datetime | None) -> str | None:
    return None if value is None else iso_ms(value)


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
