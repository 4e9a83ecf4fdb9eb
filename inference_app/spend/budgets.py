"""Budgets of a tenant, a key or a model, in tokens and money, per minute, day and month.

A call reserves its estimate before and settles its spend after. It is admitted while something is left beside the
settled spend and the reservations of running calls, so calls together overspend by no more than what is in flight. The
ledger decides: each process reads it once a second for the windows in use, so processes (and sessions, whose spend is
in the same ledger) agree within about that time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeVar

import structlog
from django.db import DatabaseError

from core_app import clock, database
from core_app.lifecycle import Periodic, process_wide
from core_app.log_lines import error_summary
from core_app.timeouts import running_loop
from inference_app.catalogue.resolution import Candidate
from inference_app.errors import BudgetSpent, MinuteBudgetSpent
from inference_app.spend.ledger_sums import Spend, spend_between
from inference_app.spend.usage import Usage
from tenants_app.principal import Principal

SYNC_SECONDS = 1.0
IDLE_SECONDS = 120.0
"""The time after which an unused window is forgotten; its next use reads it anew."""

SETTLING_SECONDS = 120.0
REBASE_SECONDS = 300.0
"""Entries reach the ledger within seconds of their time, so what is older than the first is summed only every five
minutes."""

T = TypeVar("T", int, Decimal)
Period = Literal["minute", "day", "month"]

logger = structlog.get_logger("gateway.budgets")


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """One budget. `key_id` None: of all keys; `model` empty: of all models, else `provider:model` or the model."""

    id: int
    tenant_id: int
    period: Period
    key_id: int | None = None
    model: str = ""
    tokens: int | None = None
    usd: Decimal | None = None

    def covers(self, key_id: int | None, names: Sequence[str]) -> bool:
        """True if a call of that key for a model of those names counts."""
        return (self.key_id is None or self.key_id == key_id) and (not self.model or self.model in names)

    @property
    def subject(self) -> str:
        """The owner of the budget, for a sentence."""
        whose = "this key" if self.key_id is not None else "this tenant"
        return f"{whose} for '{self.model}'" if self.model else whose


@dataclass(slots=True)
class Window:
    """The current minute, day or month of one rule."""

    rule: BudgetRule
    start: datetime
    end: datetime
    used_at: float
    based_at: datetime | None = None
    base: Spend = field(default_factory=Spend)
    recent: Spend = field(default_factory=Spend)
    local: Spend = field(default_factory=Spend)
    """Spend settled in this process since the ledger was last read."""
    unsure: bool = False
    """True if settled spend may be in the sums as well, because it was settled while they were read."""
    reserved: Spend = field(default_factory=Spend)

    @property
    def used(self) -> Spend:
        return self.base + self.recent + self.local + self.reserved

    @property
    def tokens_left(self) -> int | None:
        return None if self.rule.tokens is None else max(0, self.rule.tokens - self.used.tokens)

    @property
    def usd_left(self) -> Decimal | None:
        return None if self.rule.usd is None else max(Decimal(0), self.rule.usd - self.used.usd)

    @property
    def exhausted(self) -> bool:
        return self.tokens_left == 0 or self.usd_left == 0


@dataclass(slots=True)
class Reservation:
    """The share that one call holds of its windows; settled exactly once."""

    windows: Sequence[Window]
    held: Spend
    left: tuple[int | None, Decimal | None]
    candidate: Candidate | None = None
    settled: bool = False

    def settle(self, usage: Usage, cost: Decimal | None) -> None:
        """Replaces the reservation by the call's true spend; an unknown price counts as no money."""
        if self.settled:
            return
        self.settled = True
        spent = Spend(usage.input + usage.output, cost or Decimal(0))
        for window in self.windows:
            window.reserved -= self.held
            if self.candidate is None or window.rule.covers(window.rule.key_id, model_names(self.candidate)):
                window.local += spent

    def release(self) -> None:
        """Gives the reservation back, without spend."""
        self.settle(Usage(0, 0), None)


class Budgets(Periodic):
    """Rules and their windows in use: a part of the process (`core_app.lifecycle`) that keeps reading the ledger."""

    def __init__(self, now: Callable[[], datetime] = clock.now) -> None:
        super().__init__("budgets", self.sync, SYNC_SECONDS, first=False)
        self._now = now
        self._rules: Mapping[int, Sequence[BudgetRule]] = {}
        self._windows: dict[tuple[BudgetRule, datetime], Window] = {}

    async def stop(self) -> None:
        """Ends the reading and forgets the windows."""
        await super().stop()
        self._windows.clear()

    def rules_replace(self, rules: Sequence[BudgetRule]) -> None:
        """Replaces all rules; windows of those that changed are counted anew."""
        by_tenant: dict[int, list[BudgetRule]] = {}
        for rule in rules:
            by_tenant.setdefault(rule.tenant_id, []).append(rule)
        self._rules = by_tenant

    def has_rules(self, principal: Principal) -> bool:
        """True if the tenant has a budget."""
        return principal.tenant_id in self._rules

    async def reserve(
        self, principal: Principal, names: Sequence[str], tokens: int, usd: Decimal
    ) -> Reservation | None:
        """Reserves the estimate in every window that counts the call; returns None if there is no budget.

        Raises BudgetSpent, or MinuteBudgetSpent for a budget per minute.
        """
        rules = self._rules.get(principal.tenant_id)
        if not rules:
            return None
        mine = [rule for rule in rules if rule.covers(principal.key_id, names)]
        windows = [await self._window(rule) for rule in mine]
        for window in windows:
            if window.exhausted:
                raise self._error(window)
        left = (_smallest(w.tokens_left for w in windows), _smallest(w.usd_left for w in windows))
        held = Spend(max(1, tokens), usd)
        for window in windows:
            window.reserved += held
        return Reservation(windows, held, left) if windows else None

    async def is_exhausted_beside(self, principal: Principal, names: Sequence[str], held: Sequence[Window]) -> bool:
        """True if a budget that counts calls of these names is exhausted, other than those in `held`."""
        mine = [rule for rule in self._rules.get(principal.tenant_id, ()) if rule.covers(principal.key_id, names)]
        windows = [await self._window(rule) for rule in mine]
        return any(window.exhausted for window in windows if not any(window is other for other in held))

    async def exhausted_reason(self, tenant_id: int, key_id: int | None, names: Sequence[str]) -> str | None:
        """Returns a sentence that says why a run may not call a model of those names now; None if it may. It reserves
        nothing: a run makes one request after the other and calls `record_spend` before the next."""
        for rule in self._rules.get(tenant_id, ()):
            if not rule.covers(key_id, names) or not (window := await self._window(rule)).exhausted:
                continue
            if window.unsure:
                await self._read_ledger(window)
            if window.exhausted:
                return _exhausted_sentence(window.rule)
        return None

    def record_spend(self, tenant_id: int, key_id: int | None, names: Sequence[str], tokens: int, usd: Decimal) -> None:
        """Counts the spend of a run's response at once; the ledger already has it, and is read only every second."""
        for rule in self._rules.get(tenant_id, ()):
            window = self._windows.get((rule, _bounds(rule.period, self._now())[0]))
            if window is not None and rule.covers(key_id, names):
                window.local += Spend(tokens, usd)
                window.unsure = True

    async def sync(self) -> None:
        """Reads the ledger for every window in use."""
        now = running_loop().time()
        for key, window in list(self._windows.items()):
            if now - window.used_at > IDLE_SECONDS and not window.reserved:
                del self._windows[key]
            else:
                await self._read_ledger(window)

    async def _window(self, rule: BudgetRule) -> Window:
        start, end = _bounds(rule.period, self._now())
        window = self._windows.get((rule, start))
        now = running_loop().time()
        if window is None:
            window = self._windows[(rule, start)] = Window(rule, start, end, now)
        window.used_at = now
        if window.based_at is None:
            await self._read_ledger(window)
        return window

    async def _read_ledger(self, window: Window) -> None:
        settled, now = window.local, self._now()
        window.unsure = False
        edge = now - timedelta(seconds=SETTLING_SECONDS)
        based_at = window.based_at
        if based_at is None or (now - based_at).total_seconds() > SETTLING_SECONDS + REBASE_SECONDS:
            based_at = max(window.start, min(edge, window.end))
            window.base = await self._sum(window.rule, window.start, based_at)
            window.based_at = based_at
        window.recent = await self._sum(window.rule, based_at, window.end)
        window.local -= settled

    async def _sum(self, rule: BudgetRule, since: datetime, until: datetime) -> Spend:
        return await database.run(spend_between, rule.tenant_id, rule.key_id, rule.model, since, until)

    def _error(self, window: Window) -> BudgetSpent | MinuteBudgetSpent:
        seconds = max(1, int((window.end - self._now()).total_seconds()) + 1)
        kind = MinuteBudgetSpent if window.rule.period == "minute" else BudgetSpent
        return kind(_exhausted_sentence(window.rule), retry_after=seconds)

    def _log_failure(self, error: Exception) -> None:
        """Logs that the ledger could not be read; the sums read before stay in force."""
        if isinstance(error, DatabaseError):
            logger.warning("budgets_not_read", error=error_summary(error))
        else:
            logger.error("budgets_not_read", exc_info=error)


def _exhausted_sentence(rule: BudgetRule) -> str:
    return f"The budget of {rule.subject} for this {rule.period} is spent."


def model_names(candidate: Candidate) -> tuple[str, str]:
    """Returns the names by which a rule may call a candidate's model."""
    return candidate.name, candidate.model


def _bounds(period: Period, now: datetime) -> tuple[datetime, datetime]:
    minute = now.replace(second=0, microsecond=0)
    if period == "minute":
        return minute, minute + timedelta(minutes=1)
    day = minute.replace(hour=0, minute=0)
    if period == "day":
        return day, day + timedelta(days=1)
    month = day.replace(day=1)
    return month, (month + timedelta(days=32)).replace(day=1)


def _smallest(values: Iterable[T | None]) -> T | None:
    return min((value for value in values if value is not None), default=None)


BUDGETS = process_wide(Budgets())
"""Process-wide instance, started by `Gateway`."""
