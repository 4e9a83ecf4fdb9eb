"""The operator's settings of the database, which every process reads at its start and again when one has changed.

They are kept in memory, so that no request queries the database. When rows cannot be used (the file has changed, a key
was sealed under another secret), the settings in force stay.
"""

from __future__ import annotations

import threading
from datetime import datetime

import structlog
from django.db import DatabaseError
from django.db.models import Count, Max

from core_app import database, sealing
from core_app.errors import Unprocessable
from core_app.lifecycle import Periodic, process_wide
from core_app.log_lines import error_summary
from inference_app.catalogue.access import TenantAccess, access_replace
from inference_app.catalogue.config import MODELS
from inference_app.catalogue.overlay import Overlay, overlay_replace, stored_key_name
from inference_app.models import Alias, Budget, Price, Provider, Route, TenantModels
from inference_app.spend.budgets import BUDGETS, BudgetRule

REFRESH_SECONDS = 2.0
"""The pause between two checks for changed rows; each is one query per table."""

_TABLES = (Provider, Route, Alias, Price, TenantModels, Budget)
_APPLYING = threading.Lock()
logger = structlog.get_logger("gateway.rows")

Stamp = tuple[tuple[int, datetime | None], ...]
"""The number of rows and the newest change, per table."""


def rows_stamp() -> Stamp:
    """Returns a value that differs after every change of a row."""
    found = []
    for table in _TABLES:
        sums = table._default_manager.aggregate(rows=Count("pk"), newest=Max("updated_at"))
        found.append((int(sums["rows"]), sums["newest"]))
    return tuple(found)


def overlay_read() -> Overlay:
    """Reads the rows as an overlay over the configuration file."""
    return Overlay(
        providers={row.name: _entry(row) for row in Provider.objects.all()},
        routes={row.prefix: row.providers for row in Route.objects.all()},
        aliases={row.name: row.targets for row in Alias.objects.all()},
        prices=[(row.provider, row.model, _price(row)) for row in Price.objects.all()],
    )


def rows_apply() -> Stamp:
    """Puts all rows into force, and returns the stamp of what was read. One caller at a time, so that rows that were
    read earlier never replace later ones."""
    with _APPLYING:
        return _rows_apply()


def _rows_apply() -> Stamp:
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


class OperatorSettings(Periodic):
    """Keeps this process's settings the same as the operator's rows; a part of the process (`core_app.lifecycle`).

    A failed round leaves the settings in force as they are.
    """

    def __init__(self) -> None:
        super().__init__("operator_settings", self.refresh, REFRESH_SECONDS, first=False, failed=_log_failure)
        self._stamp: Stamp | None = None

    async def start(self) -> None:
        """Applies the rows, then checks for changes every REFRESH_SECONDS."""
        self._stamp = await database.run(rows_apply)
        await super().start()

    async def refresh(self) -> None:
        """Applies the rows again when one has changed."""
        if await database.run(rows_stamp) != self._stamp:
            self._stamp = await database.run(rows_apply)
            logger.info("operator_settings_changed")

    def reset(self) -> None:
        """Takes all rows out of force; the next round reads them again."""
        self._stamp = None
        overlay_replace(Overlay(), {})
        MODELS.forget()
        access_replace({})
        BUDGETS.rules_replace([])


def _log_failure(error: Exception) -> None:
    # The database may be unavailable, which needs no traceback.
    if isinstance(error, DatabaseError):
        logger.warning("operator_settings_not_read", error=error_summary(error))
    else:
        logger.error("operator_settings_not_read", exc_info=error)


def _entry(row: Provider) -> dict[str, object]:
    entry = {**row.entry, "enabled": row.enabled}
    return {**entry, "api_key_env": stored_key_name(row.name)} if row.sealed_key else entry


def _keys() -> dict[str, str]:
    keys = {}
    for row in Provider.objects.exclude(sealed_key=""):
        try:
            keys[stored_key_name(row.name)] = sealing.unseal(row.sealed_key)
        except Unprocessable as error:
            logger.error("provider_key_not_opened", provider=row.name, reason=error.message)
    return keys


def _price(row: Price) -> dict[str, float]:
    price = {"input": float(row.input), "output": float(row.output)}
    more = {name: getattr(row, name) for name in ("cached", "cache_write", "cache_write_hour")}
    return price | {name: float(value) for name, value in more.items() if value is not None}


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


OPERATOR_SETTINGS = process_wide(OperatorSettings(), reset=OperatorSettings.reset)
"""Process-wide instance, started by `Gateway`."""
