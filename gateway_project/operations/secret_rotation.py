"""Every sealed secret of the database, and how it comes under the present GATEWAY_SECRET_KEY.

What is left out: answers that are kept for an Idempotency-Key, which are gone after a day.
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
from tools_app.models import SessionTool

CALLBACK_SECRET = "sealed_callback_secret"  # noqa: S105  (the name it has in a tenant's settings)

PAGE = 500


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """One sealed secret; `replace` puts another in its place unless somebody has done so meanwhile."""

    what: str
    text: str
    replace: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class RotationReport:
    """How many secrets of each kind stood under a former key, and how many no key opens."""

    former: Mapping[str, int]
    unreadable: Mapping[str, int]
    all: int


def secrets_reseal(*, dry: bool = False, most: int | None = None) -> RotationReport:
    """Seals under the present key what is under a former one, `most` of each kind, the oldest first; with `dry` it only
    counts. May run beside a serving gateway, and again and again."""
    former: Counter[str] = Counter()
    unreadable: Counter[str] = Counter()
    total = 0
    for secret in _all(most):
        total += 1
        try:
            anew = reseal(secret.text)
        except Unprocessable:
            unreadable[secret.what] += 1
            continue
        if anew is not None and (dry or secret.replace(anew)):
            former[secret.what] += 1
    return RotationReport(former, unreadable, total)


def _all(most: int | None) -> Iterator[SealedSecret]:
    yield from _column(SessionTool, "sealed_secret", "tools", most)
    yield from _column(WebhookEndpoint, "secret", "webhooks", most)
    yield from _column(WebhookEndpoint, "former_secret", "webhooks' former secrets", most)
    yield from _column(Provider, "sealed_key", "providers", most)
    for key, text in Tenant.objects.order_by("pk").values_list("pk", f"settings__{CALLBACK_SECRET}")[:most]:
        if text:
            yield SealedSecret("tenants", text, _in_settings(key, text))


def _column(model: type[Model], column: str, what: str, most: int | None) -> Iterator[SealedSecret]:
    rows: Any = model._default_manager.exclude(**{f"{column}__isnull": True}).exclude(**{column: ""}).order_by("pk")
    last, left = 0, most
    while page := list(rows.filter(pk__gt=last).values_list("pk", column)[: PAGE if left is None else min(left, PAGE)]):
        for key, text in page:
            yield SealedSecret(what, text, _in_column(rows.filter(pk=key, **{column: text}), column))
        last = page[-1][0]
        left = None if left is None else left - len(page)


def _in_column(rows: Any, column: str) -> Callable[[str], bool]:
    def replace(text: str) -> bool:
        with write_transaction():
            return bool(rows.update(**{column: text}))

    return replace


def _in_settings(key: int, former: str) -> Callable[[str], bool]:
    def replace(text: str) -> bool:
        with write_transaction():
            tenant = Tenant.objects.select_for_update().get(pk=key)
            if tenant.settings.get(CALLBACK_SECRET) != former:
                return False
            tenant.settings[CALLBACK_SECRET] = text
            tenant.save(update_fields=["settings"])
            return True

    return replace
