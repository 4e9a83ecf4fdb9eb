"""The verdict of one call on its candidate's circuits: however often a target is tried, it counts once, at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from inference_app.catalogue.config import BreakerPolicy, RetryPolicy
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.retry_policy import cooldown_seconds
from inference_app.relay.attempt import AttemptFailed
from inference_app.spend.metering import Outcome

Finding = Literal["abandoned", "success", "failure", "unreachable"]
_FINDINGS: Mapping[Outcome, Finding] = {"ok": "success", "broken": "failure"}


class CallVerdict:
    """The verdict on the candidate that the call asks now."""

    __slots__ = ("_breaker", "_candidate", "_finding", "_tenant_id")

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._candidate: Candidate | None = None
        self._breaker: BreakerPolicy | None = None
        self._finding: Finding = "abandoned"

    def begin(self, candidate: Candidate, breaker: BreakerPolicy) -> None:
        """Notes that the call asks the candidate from now on."""
        self._candidate, self._breaker, self._finding = candidate, breaker, "abandoned"
        CIRCUITS.begin(candidate, self._tenant_id)

    def note_try(self, failed: AttemptFailed, policy: RetryPolicy, *, free: bool) -> None:
        """Notes a failed try. A `free` one says nothing, and a 429 starts a cooldown."""
        fault, candidate = failed.fault, self._candidate
        assert candidate is not None
        if failed.refusal is not None:
            self._finding = "success"
        elif fault.is_rate_limit:
            self._finding = "abandoned"
            CIRCUITS.cool(candidate, cooldown_seconds(fault, policy), self._tenant_id)
        elif not free:
            self._finding = "unreachable" if fault.kind == "connect" else "failure"

    def note_first_byte(self) -> None:
        """Notes that a response has started. Failed tries before it no longer count."""
        self._finding = "abandoned"
        if self._candidate is not None:
            CIRCUITS.note_first_byte(self._candidate, self._tenant_id)

    def is_open(self) -> bool:
        """True if a circuit has opened since the call began, so that it should not try again."""
        return self._candidate is not None and CIRCUITS.is_open(self._candidate, self._tenant_id)

    def finish_with(self, outcome: Outcome) -> None:
        """Tells the circuits how a response that had started has ended."""
        self.finish(_FINDINGS.get(outcome, "abandoned"))

    def finish(self, finding: Finding | None = None) -> None:
        """Tells the circuits, once for each candidate; by default what the last try has shown."""
        candidate, self._candidate = self._candidate, None
        if candidate is None:
            return
        finding = finding or self._finding
        if finding == "success":
            CIRCUITS.note_success(candidate, self._tenant_id)
        elif finding == "abandoned":
            CIRCUITS.note_abandoned(candidate, self._tenant_id)
        elif self._breaker is not None:
            CIRCUITS.note_failure(candidate, self._breaker, self._tenant_id, connecting=finding == "unreachable")
