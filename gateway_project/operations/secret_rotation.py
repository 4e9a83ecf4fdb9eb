"""Rotation of GATEWAY_SECRET_KEY: seals every secret in the database anew, under the present key.

Responses kept for an Idempotency-Key are left out: they are removed after a day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from core_app.database import write_transaction
from core_app.errors import Unprocessable
from core_app.sealing import reseal
from events_app.webhooks.models import WebhookEndpoint
from inference_app.models import Provider
from tenants_app.models import Tenant
from tools_app.models import McpServer, SessionTool

CALLBACK_SECRET = "sealed_callback_secret"  # noqa: S105  (its name in a tenant's settings)

PAGE = 500


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A sealed secret. `replace` stores another text in its place, unless it was changed meanwhile."""

    kind: str
    text: str
    replace: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class RotationReport:
    """The number of secrets by kind: those under a former key, those that no key opens, and all."""

    former: Mapping[str, int]
    unreadable: Mapping[str, int]
    all: int


def secrets_reseal(*, dry: bool = False, most: int | None = None) -> RotationReport:
    """Seals secrets under a former key anew, `most` of each kind, the oldest first; with `dry` it only counts them. May
    run beside a serving gateway, and repeatedly."""
    former: Counter[str] = Counter()
    unreadable: Counter[str] = Counter()
    total = 0
    for secret in _sealed_secrets(most):
        total += 1
        try:
            anew = reseal(secret.text)
        except Unprocessable:
            unreadable[secret.kind] += 1
            continue
        if anew is not None and (dry or secret.replace(anew)):
            former[secret.kind] += 1
    return RotationReport(former, unreadable, total)


_OF_MCP_SERVERS = {
    "sealed_headers": "headers of MCP servers",
    "sealed_client_secret": "OAuth clients of MCP servers",
    "sealed_grant": "authorizations of MCP servers",
    "sealed_flow": "begun authorizations of MCP servers",
}


def _sealed_secrets(most: int | None) -> Iterator[SealedSecret]:
    yield from _secrets_in_column(SessionTool, "sealed_secret", "tools", most)
    yield from _secrets_in_column(WebhookEndpoint, "secret", "webhooks", most)
    yield from _secrets_in_column(WebhookEndpoint, "former_secret", "webhooks' former secrets", most)
    yield from _secrets_in_column(Provider, "sealed_key", "providers", most)
    for column, kind in _OF_MCP_SERVERS.items():
        yield from _secrets_in_column(McpServer, column, kind, most)
    for key, text in Tenant.objects.order_by("pk").values_list("pk", f"settings__{CALLBACK_SECRET}")[:most]:
        if text:
            yield SealedSecret("tenants", text, _settings_replacer(key, text))


def _secrets_in_column(model: type[Model], column: str, kind: str, most: int | None) -> Iterator[SealedSecret]:
    rows: Any = model._default_manager.exclude(**{f"{column}__isnull": True}).exclude(**{column: ""}).order_by("pk")
    last, left = 0, most
    while page := list(rows.filter(pk__gt=last).values_list("pk", column)[: PAGE if left is None else min(left, PAGE)]):
        for key, text in page:
            yield SealedSecret(kind, text, _column_replacer(rows.filter(pk=key, **{column: text}), column))
        last = page[-1][0]
        left = None if left is None else left - len(page)


def _column_replacer(rows: Any, column: str) -> Callable[[str], bool]:
    def replace(text: str) -> bool:
        with write_transaction():
            return bool(rows.update(**{column: text}))

    return replace


def _settings_replacer(key: int, former: str) -> Callable[[str], bool]:
    def replace(text: str) -> bool:
        with write_transaction():
            tenant = Tenant.objects.select_for_update().get(pk=key)
            if tenant.settings.get(CALLBACK_SECRET) != former:
                return False
            tenant.settings[CALLBACK_SECRET] = text
            tenant.save(update_fields=["settings"])
            return True

    return replace
