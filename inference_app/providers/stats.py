"""Statistics of relayed calls for `/model-gateway/stats`: counts, latencies and last errors by provider, recent calls.

They are in memory and bounded; the durable record is the ledger. Latencies are those of the last few hundred calls with
a complete response. Processes share them (`inference_app.providers.state_sync`), because a client asks only one.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from core_app.clock import iso_ms
from core_app.lifecycle import process_wide

RECENT = 100
LATENCIES = 500
SHARED_LATENCIES = 100
"""Latencies that other processes get to see."""

ALIVE_SECONDS = 10.0
"""The age of another process's last report up to which it counts as running."""


@dataclass(slots=True)
class ProviderStats:
    """The counts of one provider. `requests` are calls that ended there; `failures` those without a good response."""

    requests: int = 0
    failures: int = 0
    failed_attempts: int = 0
    last_success: float | None = None
    last_error: str | None = None
    last_error_at: float = 0.0
    answered_at: float = 0.0
    """The time of the provider's last answer of any kind, or of the last attempt to reach it."""

    fault: str | None = None
    """That answer in words; None if it was a good one, or a refusal of the request itself."""

    fault_reason: str | None = None
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))

    def add(self, raw: dict[str, Any]) -> None:
        """Adds the counts of another process."""
        self.requests += raw["requests"]
        self.failures += raw["failures"]
        self.failed_attempts += raw["failed_attempts"]
        self.last_success = max((at for at in (self.last_success, raw["last_success"]) if at is not None), default=None)
        if raw["last_error_at"] > self.last_error_at:
            self.last_error, self.last_error_at = raw["last_error"], raw["last_error_at"]
        if raw["answered_at"] > self.answered_at:
            self.note_answer(raw["answered_at"], raw["fault"], raw["fault_reason"])
        self.latencies.extend(raw["latencies"])

    def note_answer(self, at: float, fault: str | None = None, reason: str | None = None) -> None:
        """Notes the newest answer."""
        self.answered_at, self.fault, self.fault_reason = at, fault, reason

    def last_answer(self) -> dict[str, Any] | None:
        """Returns the newest answer for the health pages; None before the first."""
        if not self.answered_at:
            return None
        told: dict[str, Any] = {"at": _iso(self.answered_at), "status": "ok" if self.fault is None else "failed"}
        return told if self.fault is None else {**told, "reason": self.fault_reason, "message": self.fault}

    def to_shared(self) -> dict[str, Any]:
        """Returns the counts in the form that processes share."""
        named = {name: getattr(self, name) for name in _COUNTED}
        return {**named, "latencies": [round(ms, 1) for ms in list(self.latencies)[-SHARED_LATENCIES:]]}

    def to_wire(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        return {
            "requests": self.requests,
            "failed_attempts": self.failed_attempts,
            "success_rate": round(1 - self.failures / self.requests, 4) if self.requests else None,
            "avg_latency_ms": round(sum(ordered) / len(ordered), 1) if ordered else None,
            "p95_latency_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], 1) if ordered else None,
            "last_success": _iso(self.last_success),
            "last_error": self.last_error,
            "last_answer": self.last_answer(),
        }


_COUNTED = (
    "requests", "failures", "failed_attempts", "last_success", "last_error", "last_error_at", "answered_at", "fault",
    "fault_reason",
)  # fmt: skip


class Stats:
    """The statistics of this process, for one event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.others: list[dict[str, Any]] = []
        """The statistics of other processes, as `inference_app.providers.state_sync` reads them."""
        self.reset()

    def reset(self) -> None:
        """Starts anew, as after a start of the process."""
        self._began = self.clock()
        self._providers: OrderedDict[str, ProviderStats] = OrderedDict()
        self._recent: deque[tuple[float, str, str, str, float]] = deque(maxlen=RECENT)

    def record_call(self, provider: str, model: str, outcome: str, total_ms: float) -> None:
        """Counts a call that has ended."""
        stats, now = self._of(provider), self.clock()
        stats.requests += 1
        if outcome in ("failed", "broken"):
            stats.failures += 1
        elif outcome == "ok":
            stats.last_success = now
            stats.note_answer(now)
            stats.latencies.append(total_ms)
        self._recent.append((now, provider, model, outcome, total_ms))

    def record_failed_attempt(
        self, provider: str, model: str, code: str, reason: str = "status", sentence: str | None = None
    ) -> None:
        """Counts a failed attempt; the call goes on. `sentence` says in words what was at fault."""
        stats, now = self._of(provider), self.clock()
        stats.failed_attempts += 1
        stats.last_error, stats.last_error_at = f"{model}: {code}", now
        at_fault = reason != "request"
        stats.note_answer(now, sentence or f"{provider}: {code}" if at_fault else None, reason if at_fault else None)

    def providers(self) -> dict[str, ProviderStats]:
        """Returns the statistics of all processes together, by provider."""
        found: dict[str, ProviderStats] = {}
        for raw in (self.to_shared(), *self.others):
            for name, counted in raw["providers"].items():
                found.setdefault(name, ProviderStats()).add(counted)
        return found

    def to_shared(self) -> dict[str, Any]:
        """Returns the statistics of this process in the form that processes share."""
        providers = {name: stats.to_shared() for name, stats in self._providers.items()}
        return {"at": self.clock(), "began": self._began, "providers": providers, "recent": list(self._recent)}

    def process_count(self) -> int:
        """Returns the number of running processes, with this one."""
        now = self.clock()
        return 1 + sum(bool(now - raw["at"] < ALIVE_SECONDS) for raw in self.others)

    def to_wire(self) -> dict[str, Any]:
        """Returns the body of `/model-gateway/stats`, for all processes together."""
        every = [self.to_shared(), *self.others]
        providers = self.providers()
        recent = sorted((tuple(call) for raw in every for call in raw["recent"]), reverse=True)[:RECENT]
        return {
            "uptime_seconds": int(self.clock() - min(raw["began"] for raw in every)),
            "total_requests": sum(stats.requests for stats in providers.values()),
            "total_failures": sum(stats.failures for stats in providers.values()),
            "providers": {name: stats.to_wire() for name, stats in providers.items()},
            "recent": [
                {"at": _iso(at), "provider": provider, "model": model, "outcome": outcome, "ms": round(ms, 1)}
                for at, provider, model, outcome, ms in recent
            ],
        }

    def _of(self, provider: str) -> ProviderStats:
        return self._providers.setdefault(provider, ProviderStats())


def _iso(moment: float | None) -> str | None:
    return None if moment is None else iso_ms(datetime.fromtimestamp(moment, UTC))


STATS = process_wide(Stats(), reset=Stats.reset)
"""Process-wide instance."""
