"""The calls of the last minute to one candidate, by tenant: the evidence for a circuit that blocks all of them.

One tenant can make its own calls fail, with a prompt that breaks the provider's parser or runs into a time-out. So a
share of failures counts only if it holds for the calls of the others as well, without the tenant that failed most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from inference_app.catalogue.config import BreakerPolicy

MAX_TENANTS = 64
"""Tenants that are counted in half a window; more make no difference."""

OTHERS_FAILED = 2
"""Failed calls of other tenants that must be among those that open the circuit of all."""

Calls = Mapping[int, tuple[int, int]]
"""Calls and failed calls by tenant."""


@dataclass(slots=True)
class CallWindow:
    """Two halves, of which the older is dropped as a whole: from half a window to a whole one is counted."""

    began: float
    answered_at: float = 0.0
    """The time of the last good response to anybody."""
    limited: set[int] = field(default_factory=set)
    """Tenants that got a 429 since then; two are kept at most."""
    _newer: dict[int, tuple[int, int]] = field(default_factory=dict)
    _older: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, tenant_id: int, now: float, policy_seconds: float, *, calls: int = 1, failed: int = 0) -> None:
        """Counts a call of the tenant; none at all for one that was only seen."""
        self._roll(now, policy_seconds)
        if tenant_id in self._newer or len(self._newer) < MAX_TENANTS:
            before = self._newer.get(tenant_id, (0, 0))
            self._newer[tenant_id] = (before[0] + calls, before[1] + failed)

    def calls(self, now: float, policy_seconds: float) -> Calls:
        """Returns the counts of both halves."""
        self._roll(now, policy_seconds)
        return sum_calls((self._newer, self._older))

    def clear(self) -> None:
        """Forgets the calls, because the circuit of all was closed after them."""
        self._newer, self._older = {}, {}

    def has_others(self, tenant_id: int) -> bool:
        """True if another tenant asked or wanted to."""
        return any(other != tenant_id for half in (self._newer, self._older) for other in half)

    def _roll(self, now: float, seconds: float) -> None:
        age = now - self.began
        if age >= seconds / 2:
            self._older = self._newer if age < seconds else {}
            self._newer, self.began = {}, now


def sum_calls(parts: Iterable[Calls]) -> Calls:
    """Adds up counts by tenant."""
    sums: dict[int, tuple[int, int]] = {}
    for part in parts:
        for tenant_id, (calls, failed) in part.items():
            before = sums.get(tenant_id, (0, 0))
            sums[tenant_id] = (before[0] + calls, before[1] + failed)
    return sums


def is_failing(calls: Calls, policy: BreakerPolicy) -> bool:
    """True if the calls say that the provider fails, whoever asks."""
    total, failed = (sum(counts) for counts in zip(*calls.values(), strict=True)) if calls else (0, 0)
    if total < policy.minimum_calls or not _share_reached(total, failed, policy):
        return False
    worst = max(calls.values(), key=lambda counts: counts[1])
    return failed - worst[1] >= OTHERS_FAILED and _share_reached(total - worst[0], failed - worst[1], policy)


def _share_reached(total: int, failed: int, policy: BreakerPolicy) -> bool:
    return failed * 100 >= policy.failure_percent * total
