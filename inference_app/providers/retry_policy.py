"""Retry rules: pure functions from a fault and the configured policies to retries, delays and deadlines.

A caller's own mistake goes back to the caller; a provider's fault is retried, then the next target is asked. These
functions know no connections and no clocks.
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
"""Statuses that the request itself causes: they go to the caller, and open no circuit."""

UNRETRYABLE_STATUSES = frozenset({501, 505})
FAILOVER_FIRST_BYTE = 20.0
"""Seconds to the first byte of a stream while another target is left."""

STREAM_DEADLINE = 90.0
WHOLE_DEADLINE = 30.0
"""Seconds after which nothing is retried, for streams and for complete responses."""

MAX_COOLDOWN_SECONDS = 3600.0

FaultKind = Literal["connect", "disconnected", "timeout", "status", "garbage", "stream_error"]


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of an attempt. `code` is for the caller; `status` is the one that the provider's answer stands for,
    None without an answer; `retry_after` is in seconds, None if the provider has none."""

    kind: FaultKind
    code: str
    status: int | None = None
    retry_after: float | None = None

    @property
    def is_rate_limit(self) -> bool:
        """True for a 429: no fault of the provider, so it starts a cooldown and does not count for the circuit."""
        return self.status == 429

    @property
    def reason(self) -> str:
        """A word for metrics and the log: the operator's key or account, the request itself, or the kind of fault."""
        if self.status in (401, 403):
            return "key"
        if self.status == 402:
            return "account"
        if self.is_rate_limit:
            return "rate_limit"
        return "request" if self.status in CALLER_FAULT_STATUSES else self.kind

    @property
    def may_have_cost(self) -> bool:
        """True if the provider may have worked on the request and charges for it: it had the request, and neither
        refused it with a status nor answered with an error."""
        return self.kind in ("timeout", "disconnected")


def is_retryable(fault: Fault, policy: RetryPolicy) -> bool:
    """True if another request to the same candidate may help."""
    if fault.status is None:
        return True
    if fault.status in UNRETRYABLE_STATUSES:
        return False
    named = f"{fault.status // 100}xx"
    return fault.status in policy.retryable_statuses or named in policy.retryable_statuses


def retry_delay(fault: Fault, policy: RetryPolicy, retry: int, draw: Callable[[], float]) -> float:
    """Returns the seconds before retry number `retry` (from 0): doubled each time, with 25 % jitter, at least
    `Retry-After`."""
    delay: float = min(policy.base_delay_ms * 2.0**retry, policy.max_delay_ms) / 1000
    delay *= 0.75 + draw() / 2
    return max(min(delay, policy.max_delay_ms / 1000), fault.retry_after or 0.0)


def cooldown_seconds(fault: Fault, policy: RetryPolicy) -> float:
    """Returns the seconds of the cooldown after a 429."""
    said = fault.retry_after
    return policy.base_delay_ms / 1000 if said is None else said


def first_byte_seconds(times: Timeouts, *, streamed: bool, others: bool) -> float:
    """Returns the limit for the first byte of a response; a complete response has its first with its last.

    `others`: another target is left."""
    if not streamed:
        return times.total
    return min(times.first_byte, FAILOVER_FIRST_BYTE) if others else times.first_byte


def deadline_seconds(*, streamed: bool) -> float:
    """Returns the seconds after which nothing is retried."""
    return STREAM_DEADLINE if streamed else WHOLE_DEADLINE


def asked_delay(header: Callable[[bytes], str | None], told: float | None = None) -> float | None:
    """Returns the seconds after which a provider wants to be asked again: by `retry-after-ms`, which is the more exact
    one, by `Retry-After`, or as `told` in its error. None if it says nothing."""
    milliseconds = retry_after_seconds(header(b"retry-after-ms"), scale=1000)
    if milliseconds is not None:
        return milliseconds
    seconds = retry_after_seconds(header(b"retry-after"))
    return told if seconds is None else seconds


def retry_after_seconds(value: str | None, now: datetime | None = None, *, scale: int = 1) -> float | None:
    """Parses a `Retry-After` header, in seconds (or parts of them, by `scale`) or as a date; an hour at most. None if
    it is missing or unreadable."""
    if not value:
        return None
    try:
        seconds = float(value) / scale
    except ValueError:
        if scale != 1:
            return None
        try:
            moment = parsedate_to_datetime(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (moment - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return min(max(0.0, seconds), MAX_COOLDOWN_SECONDS) if math.isfinite(seconds) else None
