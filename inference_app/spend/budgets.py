"""Budgets of a tenant, a key or a model, in tokens and money, per minute, day and month.

Relayed calls and model requests of runs reserve the most that they may cost before they are sent, and settle their
spend when they end, whether or not it is written yet. A request is admitted while something is left beside the ledger's
sums, the spend that is not in them yet and the reservations of running requests. The ledger decides: each process reads
it once a second for the windows in use. Between two looks, each of several processes may use its share of what was left
at the last one, and looks again before it refuses; so together they overspend by at most one request per process.
"""

from __future__ import annotations

import asyncio
import math
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
from inference_app.providers.stats import STATS
from inference_app.spend.ledger_sums import Spend, spend_between
from inference_app.spend.usage import Usage

SYNC_SECONDS = 1.0
IDLE_SECONDS = 120.0
"""The time after which an unused window is forgotten; its next use reads it anew."""

SETTLING_SECONDS = 120.0
REBASE_SECONDS = 300.0
"""Entries reach the ledger within seconds of their time, so what is older than the first is summed only every five
minutes."""

LOOK_SECONDS = 0.2
"""The pause between two looks at the ledger because a process's share of a window is used up."""

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
    """True if `local` may be in the sums as well, because it was written while they were read."""
    unwritten: Spend = field(default_factory=Spend)
    """Spend of calls that have ended and are not in the ledger yet."""
    reserved: Spend = field(default_factory=Spend)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    read_at: float = -math.inf

    @property
    def known(self) -> Spend:
        """The spend that the ledger had at the last look."""
        return self.base + self.recent

    @property
    def own(self) -> Spend:
        """The spend of this process that the last look may have missed, and its reservations."""
        return self.local + self.unwritten + self.reserved

    @property
    def tokens_left(self) -> int | None:
        return None if self.rule.tokens is None else max(0, self.rule.tokens - self.known.tokens - self.own.tokens)

    @property
    def usd_left(self) -> Decimal | None:
        return None if self.rule.usd is None else max(Decimal(0), self.rule.usd - self.known.usd - self.own.usd)

    @property
    def share_left(self) -> float:
        """The rest of the narrower one of the two limits, as a share of it."""
        rule, tokens, usd = self.rule, self.tokens_left, self.usd_left
        shares = [tokens / rule.tokens] if tokens is not None and rule.tokens else []
        shares += [float(usd / rule.usd)] if usd is not None and rule.usd else []
        return min(shares, default=0.0)

    def is_exhausted(self, processes: int) -> bool:
        """True if this process has used its share of what was left at the last look."""
        known, own, rule = self.known, self.own, self.rule
        return (rule.tokens is not None and own.tokens * processes >= rule.tokens - known.tokens) or (
            rule.usd is not None and own.usd * processes >= rule.usd - known.usd
        )


@dataclass(slots=True)
class Reservation:
    """The share that one request holds of its windows; settled and confirmed exactly once."""

    windows: list[Window]
    held: Spend
    left: tuple[int | None, Decimal | None]
    candidate: Candidate | None = None
    spent: Spend | None = None
    _charged: Sequence[Window] = ()
    _confirmed: bool = False

    def settle(self, usage: Usage, cost: Decimal | None) -> None:
        """Replaces the reservation by the spend at the end of the request; an unknown price counts as no money."""
        if self.spent is not None:
            return
        self.spent = Spend(usage.input + usage.output, cost or Decimal(0))
        names = None if self.candidate is None else model_names(self.candidate)
        self._charged = [w for w in self.windows if names is None or w.rule.covers(w.rule.key_id, names)]
        for window in self.windows:
            window.reserved -= self.held
        for window in self._charged:
            window.unwritten += self.spent

    def confirm(self, cost: Decimal | None) -> None:
        """Notes that the ledger has the spend, with its true cost, or never will: from the next look on, the window has
        what the ledger has."""
        if self.spent is None or self._confirmed:
            return
        self._confirmed = True
        written = Spend(self.spent.tokens, cost or Decimal(0))
        for window in self._charged:
            window.unwritten -= self.spent
            window.local += written
            window.unsure = True

    def release(self) -> None:
        """Gives the reservation back, without spend."""
        self.settle(Usage(0, 0), None)
        self.confirm(None)


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

    def has_rules(self, tenant_id: int) -> bool:
        """True if the tenant has a budget."""
        return tenant_id in self._rules

    def shares_left(self) -> Mapping[tuple[str, Period], float]:
        """Returns what is left of the narrowest budget in use, as a share of it, by its model (empty: of all models)
        and period."""
        left: dict[tuple[str, Period], float] = {}
        now = self._now()
        for window in self._windows.values():
            if window.end <= now or window.based_at is None:
                continue
            key = (window.rule.model, window.rule.period)
            left[key] = min(left.get(key, 1.0), window.share_left)
        return left

    async def reserve(
        self, tenant_id: int, key_id: int | None, names: Sequence[str], tokens: int, usd: Decimal
    ) -> Reservation | None:
        """Reserves the estimate in every window that counts the request; returns None if the tenant has no budget.

        Raises BudgetSpent, or MinuteBudgetSpent for a budget per minute.
        """
        if tenant_id not in self._rules:
            return None
        windows = await self._windows_of(tenant_id, key_id, names)
        exhausted = await self._exhausted(windows)
        if exhausted is not None:
            raise self._error(exhausted)
        left = (_smallest(w.tokens_left for w in windows), _smallest(w.usd_left for w in windows))
        held = Spend(max(1, tokens), usd)
        for window in windows:
            window.reserved += held
        return Reservation(windows, held, left)

    async def extend(self, reservation: Reservation, tenant_id: int, key_id: int | None, names: Sequence[str]) -> bool:
        """Reserves the same in the windows that count requests of other names, too; returns False if one is exhausted.
        A call that falls back to another model needs it."""
        others = [
            window
            for window in await self._windows_of(tenant_id, key_id, names)
            if not any(window is held for held in reservation.windows)
        ]
        if await self._exhausted(others) is not None:
            return False
        for window in others:
            window.reserved += reservation.held
            reservation.windows.append(window)
        return True

    async def _windows_of(self, tenant_id: int, key_id: int | None, names: Sequence[str]) -> list[Window]:
        rules = [rule for rule in self._rules.get(tenant_id, ()) if rule.covers(key_id, names)]
        return [await self._window(rule) for rule in rules]

    async def _exhausted(self, windows: Sequence[Window]) -> Window | None:
        """Returns the first exhausted window, after another look at the ledger where that may change it. Nothing is
        awaited after the last check, so that two requests cannot both see the same rest."""
        processes = STATS.process_count()
        for window in windows:
            if window.is_exhausted(processes) and (window.unsure or processes > 1):
                await self._look_again(window)
        return next((window for window in windows if window.is_exhausted(processes)), None)

    async def _look_again(self, window: Window) -> None:
        now = running_loop().time()
        if window.unsure or now - window.read_at >= LOOK_SECONDS:
            await self._read_ledger(window, asked=now)

    async def sync(self) -> None:
        """Reads the ledger for every window in use."""
        now = running_loop().time()
        for key, window in list(self._windows.items()):
            if now - window.used_at > IDLE_SECONDS and not (window.reserved or window.unwritten):
                del self._windows[key]
            else:
                await self._read_ledger(window, asked=now)

    async def _window(self, rule: BudgetRule) -> Window:
        start, end = period_bounds(rule.period, self._now())
        window = self._windows.get((rule, start))
        now = running_loop().time()
        if window is None:
            window = self._windows[(rule, start)] = Window(rule, start, end, now)
        window.used_at = now
        if window.based_at is None:
            await self._read_ledger(window, asked=now)
        return window

    async def _read_ledger(self, window: Window, *, asked: float) -> None:
        """Reads the sums, unless another reading has begun since `asked`. Only one runs at a time: of two at once the
        older could be stored last, and both would take the same amount from `local`."""
        async with window.reading:
            if window.read_at > asked and window.based_at is not None:
                return
            window.read_at = running_loop().time()
            await self._read_sums(window)

    async def _read_sums(self, window: Window) -> None:
        written, now = window.local, self._now()
        window.unsure = False
        edge = now - timedelta(seconds=SETTLING_SECONDS)
        based_at = window.based_at
        if based_at is None or (now - based_at).total_seconds() > SETTLING_SECONDS + REBASE_SECONDS:
            based_at = max(window.start, min(edge, window.end))
            base = await self._sum(window.rule, window.start, based_at)
            recent = await self._sum(window.rule, based_at, window.end)
            window.base, window.based_at = base, based_at
        else:
            recent = await self._sum(window.rule, based_at, window.end)
        window.recent = recent
        window.local -= written

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


def period_bounds(period: Period, now: datetime) -> tuple[datetime, datetime]:
    """Returns the start and the end of the minute, day or month (UTC) of `now`."""
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
