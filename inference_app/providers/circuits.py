"""Which candidates may be asked: a circuit breaker and a cooling time for each provider and model.

closed: consecutive faults are counted, a success forgets them. open: nothing is asked for the reset time. half-open:
so many probes at once; one that succeeds closes the circuit, one that fails opens it again. A caller's mistake counts
as a success: the provider answered.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from core_app.lifecycle import process_wide
from inference_app.catalogue.config import BreakerPolicy
from inference_app.catalogue.resolution import Candidate

State = Literal["CLOSED", "OPEN", "HALF_OPEN"]
MAX_CIRCUITS = 10_000
"""Clients name models as they like; the circuits longest untouched are forgotten."""


@dataclass(slots=True)
class Circuit:
    """Times are of the wall clock, so that processes can tell each other."""

    failures: int = 0
    open_until: float = 0.0
    cool_until: float = 0.0
    probes: int = 0
    probed_at: float = 0.0


PROBE_SECONDS = 120.0
"""A probe that has not come back by then counts no longer: its process may be gone."""


class Circuits:
    """This process's knowledge; `changed` is told of every circuit that is no longer what it was."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._known: OrderedDict[Candidate, Circuit] = OrderedDict()
        self.changed: Callable[[Candidate, Circuit], None] = lambda candidate, circuit: None

    def __iter__(self) -> Iterator[tuple[Candidate, Circuit]]:
        return iter(list(self._known.items()))

    def get(self, candidate: Candidate) -> Circuit:
        """The candidate's circuit; an untouched one when nothing is known."""
        return self._known.get(candidate) or Circuit()

    def state(self, candidate: Candidate) -> State:
        """As the status pages call it."""
        circuit = self._known.get(candidate)
        if circuit is None or not circuit.open_until:
            return "CLOSED"
        return "OPEN" if self.clock() < circuit.open_until else "HALF_OPEN"

    def blocked_for(self, candidate: Candidate, policy: BreakerPolicy) -> float | None:
        """Seconds until the candidate may be asked; None: now."""
        circuit = self._known.get(candidate)
        if circuit is None:
            return None
        now = self.clock()
        until = max(circuit.open_until, circuit.cool_until)
        if until > now:
            return until - now
        if circuit.open_until and self._running_probes(circuit, now) >= policy.half_open_max_requests:
            return 1.0
        return None

    def begin(self, candidate: Candidate) -> None:
        """The candidate is asked now; in a half-open circuit that is a probe."""
        circuit = self._known.get(candidate)
        if circuit is not None and circuit.open_until:
            circuit.probes = self._running_probes(circuit, self.clock()) + 1
            circuit.probed_at = self.clock()
            self.changed(candidate, circuit)

    def note_abandoned(self, candidate: Candidate) -> None:
        """The attempt ended without saying anything about the provider (its client went away)."""
        circuit = self._known.get(candidate)
        if circuit is not None and circuit.probes:
            circuit.probes -= 1
            self.changed(candidate, circuit)

    def note_success(self, candidate: Candidate) -> None:
        """The provider answered."""
        circuit = self._known.get(candidate)
        if circuit is None or not (circuit.failures or circuit.open_until or circuit.probes):
            return
        circuit.failures, circuit.open_until, circuit.probes = 0, 0.0, 0
        self.changed(candidate, circuit)

    def note_failure(self, candidate: Candidate, policy: BreakerPolicy) -> None:
        """A fault of the provider."""
        circuit = self._touch(candidate)
        circuit.failures += 1
        circuit.probes = max(0, circuit.probes - 1)
        if circuit.open_until or circuit.failures >= policy.failure_threshold:
            circuit.open_until = self.clock() + policy.reset_timeout_ms / 1000
        self.changed(candidate, circuit)

    def cool(self, candidate: Candidate, seconds: float) -> None:
        """The provider asked to be left alone for so long."""
        circuit = self._touch(candidate)
        circuit.cool_until = max(circuit.cool_until, self.clock() + seconds)
        self.changed(candidate, circuit)

    def learn(self, candidate: Candidate, heard: Circuit) -> None:
        """What other processes know replaces what this one knew."""
        known = self._touch(candidate)
        known.failures, known.open_until, known.cool_until = heard.failures, heard.open_until, heard.cool_until
        known.probes, known.probed_at = heard.probes, heard.probed_at

    def reset(self) -> None:
        """Knows nothing."""
        self._known.clear()

    def _running_probes(self, circuit: Circuit, now: float) -> int:
        return circuit.probes if now - circuit.probed_at < PROBE_SECONDS else 0

    def _touch(self, candidate: Candidate) -> Circuit:
        circuit = self._known.setdefault(candidate, Circuit())
        self._known.move_to_end(candidate)
        while len(self._known) > MAX_CIRCUITS:
            self._known.popitem(last=False)
        return circuit


CIRCUITS = process_wide(Circuits(), reset=Circuits.reset)
"""This process's."""
