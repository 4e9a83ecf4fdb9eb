"""What follows from a failed attempt: pure functions over the fault and the configured policies.

A caller's own mistake is handed on; a provider's fault is tried again, then the next candidate is asked. Nothing
here knows of connections or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from inference_app.catalogue.config import RetryPolicy, Timeouts

CALLER_FAULT_STATUSES = frozenset({400, 404, 413, 422})
"""Statuses of a provider that the request itself has earned: handed on, and no circuit opens for them."""

UNRETRYABLE_STATUSES = frozenset({501, 505})
FAILOVER_FIRST_BYTE = 20.0
"""Seconds to the first byte of a stream while another candidate is left."""

STREAM_DEADLINE = 90.0
WHOLE_DEADLINE = 30.0
"""Seconds after which nothing is tried again: of a stream in all, of a whole answer from its beginning."""

MAX_COOLDOWN_SECONDS = 3600.0

FaultKind = Literal["connect", "disconnected", "timeout", "status", "garbage", "stream_error"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an attempt gave nothing. `code` is what the caller is told; `retry_after` in seconds, None when not said."""

    kind: FaultKind
    code: str
    status: int | None = None
    retry_after: float | None = None

    @property
    def callers(self) -> bool:
        return self.status in CALLER_FAULT_STATUSES

    @property
    def is_rate_limit(self) -> bool:
        """A 429 is no fault of the provider: it cools instead of counting against the breaker."""
        return self.status == 429


def is_retryable(fault: Fault, policy: RetryPolicy) -> bool:
    """Whether asking the same candidate once more may help."""
    if fault.status is None:
        return True
    if fault.status in UNRETRYABLE_STATUSES:
        return False
    named = f"{fault.status // 100}xx"
    return fault.status in policy.retryable_statuses or named in policy.retryable_statuses


def retry_delay(fault: Fault, policy: RetryPolicy, retry: int, draw: Callable[[], float]) -> float:
    """Seconds before the `retry`th try (from 0): doubling, a quarter of chance either way, `Retry-After` respected."""
    delay: float = min(policy.base_delay_ms * 2.0**retry, policy.max_delay_ms) / 1000
    delay *= 0.75 + draw() / 2
    return max(min(delay, policy.max_delay_ms / 1000), fault.retry_after or 0.0)


def cooldown_seconds(fault: Fault, policy: RetryPolicy) -> float:
    """Seconds that a candidate is left alone after a 429."""
    said = fault.retry_after
    return policy.base_delay_ms / 1000 if said is None else said


def first_byte_seconds(times: Timeouts, *, streamed: bool, others: bool) -> float:
    """How long the beginning of an answer is waited for; a whole answer's beginning comes with its end."""
    if not streamed:
        return times.total
    return min(times.first_byte, FAILOVER_FIRST_BYTE) if others else times.first_byte


def deadline_seconds(*, streamed: bool) -> float:
    """After this long nothing is tried again."""
    return STREAM_DEADLINE if streamed else WHOLE_DEADLINE


def retry_after_seconds(value: str | None, now: datetime | None = None) -> float | None:
    """A `Retry-After` header: seconds, or a date; an hour at most, whatever it says."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (moment - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return min(max(0.0, seconds), MAX_COOLDOWN_SECONDS) if math.isfinite(seconds) else None
