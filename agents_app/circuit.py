"""The circuits of a candidate for the agent loop: the same as those of relayed calls.

Its requests open and close them where they are made (`inference_app.relay.candidate_call`).
"""

from __future__ import annotations

from dataclasses import dataclass

from inference_app.catalogue.config import BreakerPolicy
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuits import CIRCUITS


@dataclass(frozen=True, slots=True)
class ProviderCircuit:
    """The circuits of one candidate for one tenant; an `agents_app.ready_model.Circuit`."""

    candidate: Candidate
    breaker: BreakerPolicy
    tenant_id: int

    def cooldown_remaining(self) -> float | None:
        """Returns the seconds until the candidate may be asked; None: now."""
        return CIRCUITS.blocked_for(self.candidate, self.breaker, self.tenant_id)
