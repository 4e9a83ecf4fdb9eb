"""Budgets of a tenant, a key or a model, in tokens and money, per minute, day and month: reserved before a call,
settled after it.

A call is admitted while something is left beside what is settled and what is reserved by calls under way, so calls
together overspend by no more than what is in flight. The ledger is what is counted: each process looks at it once a
second for the windows in use, so processes (and sessions, whose spend is in the same ledger) agree within about that.
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
from inference_app.spend.ledger_sums import Spent, spent_between
from inference_app.spend.usage import Usage
from tenants_app.principal import Principal

SYNC_SECONDS = 1.0
IDLE_SECONDS = 120.0
"""A window that nobody used for so long is forgotten, and read anew when somebody does."""

SETTLING_SECONDS = 120.0
REBASE_SECONDS = 300.0
"""Rows reach the ledger within seconds of their time: what is older than the first is summed every five minutes."""

T = TypeVar("T", int, Decimal)
Period = Literal["minute", "day", "month"]

logger = structlog.get_logger("gateway.budgets")


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """`key_id` None: of all the tenant's keys; `model` empty: of all models, else `provider:model` or the model."""

    id: int
    tenant_id: int
    period: Period
    key_id: int | None = None
    model: str = ""
    tokens: int | None = None
    usd: Decimal | None = None

    def covers(self, key_id: int | None, names: Sequence[str]) -> bool:
        """Whether a call of that key for a model of those names counts."""
        return (self.key_id is None or self.key_id == key_id) and (not self.model or self.model in names)

    @property
    def subject(self) -> str:
        """Whose it is, in a sentence."""
        whose = "this key" if self.key_id is not None else "this tenant"
        return f"{whose} for '{self.model}'" if self.model else whose


@dataclass(slots=True)
class Window:
    """One rule's present minute, day or month."""

    rule: BudgetRule
    start: datetime
    end: datetime
    used_at: float
    based_at: datetime | None = None
    base: Spent = field(default_factory=Spent)
    recent: Spent = field(default_factory=Spent)
    local: Spent = field(default_factory=Spent)
    """Settled here since the ledger was last looked at."""
    unsure: bool = False
    """What was settled may be in what was read as well: a look that was under way saw it, or not."""
    reserved: Spent = field(default_factory=Spent)

    @property
    def gone(self) -> Spent:
        return self.base + self.recent + self.local + self.reserved

    @property
    def tokens_left(self) -> int | None:
        return None if self.rule.tokens is None else max(0, self.rule.tokens - self.gone.tokens)

    @property
    def usd_left(self) -> Decimal | None:
        return None if self.rule.usd is None else max(Decimal(0), self.rule.usd - self.gone.usd)

    @property
    def exhausted(self) -> bool:
        return self.tokens_left == 0 or self.usd_left == 0


@dataclass(slots=True)
class Reservation:
    """What one call holds of its windows; settled exactly once."""

    windows: Sequence[Window]
    held: Spent
    left: tuple[int | None, Decimal | None]
    candidate: Candidate | None = None
    settled: bool = False

    def settle(self, usage: Usage, cost: Decimal | None) -> None:
        """The call's true spend takes the reservation's place; an unknown price counts as no money."""
        if self.settled:
            return
        self.settled = True
        spent = Spent(usage.input + usage.output, cost or Decimal(0))
        for window in self.windows:
            window.reserved -= self.held
            if self.candidate is None or window.rule.covers(window.rule.key_id, names_of(self.candidate)):
                window.local += spent

    def release(self) -> None:
        """The call came to nothing."""
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
        """The rules as they are now; windows of those that changed are counted anew."""
        by_tenant: dict[int, list[BudgetRule]] = {}
        for rule in rules:
            by_tenant.setdefault(rule.tenant_id, []).append(rule)
        self._rules = by_tenant

    def any_for(self, principal: Principal) -> bool:
        """Whether the tenant has any budget."""
        return principal.tenant_id in self._rules

    async def reserve(
        self, principal: Principal, names: Sequence[str], tokens: int, usd: Decimal
    ) -> Reservation | None:
        """Holds the estimate in every window that counts the call; None where nothing is budgeted.

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
        left = (_least(w.tokens_left for w in windows), _least(w.usd_left for w in windows))
        held = Spent(max(1, tokens), usd)
        for window in windows:
            window.reserved += held
        return Reservation(windows, held, left) if windows else None

    async def spent_beside(self, principal: Principal, names: Sequence[str], held: Sequence[Window]) -> bool:
        """Whether a budget is spent that counts calls of these names, beside those that the call holds its share of."""
        mine = [rule for rule in self._rules.get(principal.tenant_id, ()) if rule.covers(principal.key_id, names)]
        windows = [await self._window(rule) for rule in mine]
        return any(window.exhausted for window in windows if not any(window is other for other in held))

    async def spent(self, tenant_id: int, key_id: int | None, names: Sequence[str]) -> str | None:
        """Why a run may not ask a model of those names now, as a sentence; None where it may. Nothing is held: a run
        asks one request after the other, and what it spent is `settled` before the next."""
        for rule in self._rules.get(tenant_id, ()):
            if not rule.covers(key_id, names) or not (window := await self._window(rule)).exhausted:
                continue
            if window.unsure:
                await self._read(window)
            if window.exhausted:
                return _spent_sentence(window.rule)
        return None

    def settled(self, tenant_id: int, key_id: int | None, names: Sequence[str], tokens: int, usd: Decimal) -> None:
        """Counts what a run's response cost, which the ledger has, from now on and not from the next look at it."""
        for rule in self._rules.get(tenant_id, ()):
            window = self._windows.get((rule, _bounds(rule.period, self._now())[0]))
            if window is not None and rule.covers(key_id, names):
                window.local += Spent(tokens, usd)
                window.unsure = True

    async def sync(self) -> None:
        """Looks at the ledger for every window in use."""
        now = running_loop().time()
        for key, window in list(self._windows.items()):
            if now - window.used_at > IDLE_SECONDS and not window.reserved:
                del self._windows[key]
            else:
                await self._read(window)

    async def _window(self, rule: BudgetRule) -> Window:
        start, end = _bounds(rule.period, self._now())
        window = self._windows.get((rule, start))
        now = running_loop().time()
        if window is None:
            window = self._windows[(rule, start)] = Window(rule, start, end, now)
        window.used_at = now
        if window.based_at is None:
            await self._read(window)
        return window

    async def _read(self, window: Window) -> None:
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

    async def _sum(self, rule: BudgetRule, since: datetime, until: datetime) -> Spent:
        return await database.run(spent_between, rule.tenant_id, rule.key_id, rule.model, since, until)

    def _error(self, window: Window) -> BudgetSpent | MinuteBudgetSpent:
        seconds = max(1, int((window.end - self._now()).total_seconds()) + 1)
        kind = MinuteBudgetSpent if window.rule.period == "minute" else BudgetSpent
        return kind(_spent_sentence(window.rule), retry_after=seconds)

    def _log_failure(self, error: Exception) -> None:
        """Logs a failed look; what was read before stays in force."""
        if isinstance(error, DatabaseError):
            logger.warning("budgets_not_read", error=error_summary(error))
        else:
            logger.error("budgets_not_read", exc_info=error)


def _spent_sentence(rule: BudgetRule) -> str:
    return f"The budget of {rule.subject} for this {rule.period} is spent."


def names_of(candidate: Candidate) -> tuple[str, str]:
    """What a rule may call a candidate's model."""
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


def _least(values: Iterable[T | None]) -> T | None:
    return min((value for value in values if value is not None), default=None)


BUDGETS = process_wide(Budgets())
"""The process's."""
