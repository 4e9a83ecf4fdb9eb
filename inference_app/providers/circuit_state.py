"""The state of one circuit breaker, without the rules that change it (`inference_app.providers.circuits`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from inference_app.catalogue.resolution import Candidate

State = Literal["CLOSED", "OPEN", "HALF_OPEN"]

PROBE_SECONDS = 120.0
"""The time after which a probe without a result no longer counts: its process may be gone."""


class Key(NamedTuple):
    """The name of a circuit. `tenant_id` None: the circuit of all."""

    tenant_id: int | None
    candidate: Candidate


@dataclass(slots=True)
class Circuit:
    """The state of one circuit. Times are of the wall clock, so that processes can share them.

    `failures` are failed calls in a row; in the circuit of all, those that could not connect. `culprit` is the tenant
    whose failure opened it last.
    """

    failures: int = 0
    open_until: float = 0.0
    cool_until: float = 0.0
    probes: int = 0
    probed_at: float = 0.0
    culprit: int | None = None
    opened_at: float = 0.0

    @property
    def blocked_until(self) -> float:
        """The time until which no request is sent."""
        return max(self.open_until, self.cool_until)

    def state(self, now: float) -> State:
        """Returns the state as the status pages name it."""
        if not self.open_until:
            return "CLOSED"
        return "OPEN" if now < self.open_until else "HALF_OPEN"

    def running_probes(self, now: float) -> int:
        """Returns the number of probes without a result; one that is older than PROBE_SECONDS does not count."""
        return self.probes if now - self.probed_at < PROBE_SECONDS else 0
