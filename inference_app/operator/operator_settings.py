"""The operator's rows, read again whenever one changed, in every process; requests see them without asking a database.

Rows that cannot be used (a file changed under them, a key sealed under another secret) leave what was in force.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog
from django.db import DatabaseError
from django.db.models import Count, Max

from core_app import database, sealing
from core_app.errors import Unprocessable
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.timeouts import cancel_tasks
from inference_app.catalogue.access import TenantAccess, access_replace
from inference_app.catalogue.config import MODELS
from inference_app.catalogue.overlay import Overlay, overlay_replace, stored_key_name
from inference_app.models import Alias, Budget, Price, Provider, Route, TenantModels
from inference_app.spend.budgets import BUDGETS, BudgetRule

LOOK_SECONDS = 2.0

_TABLES = (Provider, Route, Alias, Price, TenantModels, Budget)
_log = structlog.get_logger("gateway.rows")

Stamp = tuple[tuple[int, datetime | None], ...]


def rows_stamp() -> Stamp:
    """Changes with every change of a row."""
    found = []
    for table in _TABLES:
        sums = table._default_manager.aggregate(rows=Count("pk"), newest=Max("updated_at"))
        found.append((int(sums["rows"]), sums["newest"]))
    return tuple(found)


def overlay_read() -> Overlay:
    """The rows as an overlay of the file."""
    return Overlay(
        providers={row.name: _entry(row) for row in Provider.objects.all()},
        routes={row.prefix: row.providers for row in Route.objects.all()},
        aliases={row.name: row.targets for row in Alias.objects.all()},
        prices=[(row.provider, row.model, _price(row)) for row in Price.objects.all()],
    )


def rows_apply() -> Stamp:
    """Reads everything and puts it into force; what was read."""
    stamp = rows_stamp()
    overlay_replace(overlay_read(), _keys())
    MODELS.refresh()
    access_replace(
        {
            row.tenant_id: TenantAccess(tuple(map(str, row.patterns)), row.substitution)
            for row in TenantModels.objects.all()
        }
    )
    BUDGETS.rules_replace([_rule(row) for row in Budget.objects.all()])
    return stamp


class Rows(Part):
    """A part of the process (`core_app.lifecycle`)."""

    def __init__(self) -> None:
        self._stamp: Stamp | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads the rows, then looks for changes."""
        self._stamp = await database.run(rows_apply)
        self._task = asyncio.create_task(self._look_for_ever(), name="rows")

    async def stop(self) -> None:
        """Ends looking."""
        if self._task is not None:
            await cancel_tasks(self._task)
            self._task = None

    async def look(self) -> None:
        """Reads the rows when one has changed."""
        if await database.run(rows_stamp) != self._stamp:
            self._stamp = await database.run(rows_apply)
            _log.info("configuration rows read again")

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except DatabaseError as error:  # the database may be away; what is known stays in force
                _log.warning("rows_not_read", error=error_summary(error))
            except Exception:  # contains: one broken row must not end looking at all the others
                _log.exception("rows_not_read")


def _entry(row: Provider) -> dict[str, object]:
    entry = {**row.entry, "enabled": row.enabled}
    return {**entry, "api_key_env": stored_key_name(row.name)} if row.sealed_key else entry


def _keys() -> dict[str, str]:
    keys = {}
    for row in Provider.objects.exclude(sealed_key=""):
        try:
            keys[stored_key_name(row.name)] = sealing.unseal(row.sealed_key)
        except Unprocessable as error:
            _log.error("a provider's key cannot be opened", provider=row.name, reason=error.message)
    return keys


def _price(row: Price) -> dict[str, float]:
    price = {"input": float(row.input), "output": float(row.output)}
    return price if row.cached is None else {**price, "cached": float(row.cached)}


def _rule(row: Budget) -> BudgetRule:
    return BudgetRule(
        id=row.pk,
        tenant_id=row.tenant_id,
        period=row.period,  # type: ignore[arg-type]  # one of PERIODS
        key_id=row.api_key_id,
        model=row.model,
        tokens=row.tokens,
        usd=row.usd,
    )


ROWS = process_wide(Rows())
"""The process's."""
