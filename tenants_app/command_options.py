"""Helpers of the commands that name tenants and print lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError

from core_app.command import GatewayCommand
from core_app.suggestion import suggestion
from tenants_app.models import Tenant

ACTOR = "command line"
"""The name in audit entries."""


def tenant_named(slug: str) -> Tenant:
    """Returns the tenant; raises CommandError with the nearest name."""
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        near = suggestion(slug, Tenant.objects.values_list("slug", flat=True)[:1000])
        raise CommandError(f"There is no tenant '{slug}'.{near}")
    return tenant


def write_list(command: GatewayCommand, rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Prints rows as a table, or as one JSON list."""
    if as_json:
        command.stdout.write(json.dumps(rows, indent=2, default=str))
        return
    heads = list(rows[0]) if rows else []
    command.write_table(heads, [[_text(row[head]) for head in heads] for row in rows])


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ",".join(f"{name}:{one}" for name, one in value.items()) or "-"
    return ",".join(map(str, value)) or "-" if isinstance(value, list | tuple) else str(value)
