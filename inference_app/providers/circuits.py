"""Circuit breakers and cooldowns: for each provider and model, whether it may be asked now.

closed: consecutive faults are counted, and a success clears the count. open: no request for the reset time. half-open:
a limited number of probes at once; one that succeeds closes the circuit, one that fails opens it again. A caller's
mistake counts as a success, because the provider responded. Cooldowns and the sharing between processes
(`inference_app.providers.state_sync`) are the reason why no library is used.
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
"""The limit of circuits, because clients may send any model name; the longest unused ones are forgotten."""


@dataclass(slots=True)
class Circuit:
    """The state of one candidate. Times are of the wall clock, so that processes can share them."""

    failures: int = 0
    open_until: float = 0.0
    cool_until: float = 0.0
    probes: int = 0
    probed_at: float = 0.0


PROBE_SECONDS = 120.0
"""The time after which a probe without a result no longer counts: its process may be gone."""


class Circuits:
    """The circuits that this process knows. `changed` is called after every change of one."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._known: OrderedDict[Candidate, Circuit] = OrderedDict()
        self.changed: Callable[[Candidate, Circuit], None] = lambda candidate, circuit: None

    def __iter__(self) -> Iterator[tuple[Candidate, Circuit]]:
        return iter(list(self._known.items()))

    def get(self, candidate: Candidate) -> Circuit:
        """Returns the candidate's circuit; a new one if nothing is known."""
        return self._known.get(candidate) or Circuit()

    def state(self, candidate: Candidate) -> State:
        """Returns the state as the status pages name it."""
        circuit = self._known.get(candidate)
        if circuit is None or not circuit.open_until:
            return "CLOSED"
        return "OPEN" if self.clock() < circuit.open_until else "HALF_OPEN"

    def blocked_for(self, candidate: Candidate, policy: BreakerPolicy) -> float | None:
        """Returns the seconds until the candidate may be asked; None: now."""
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
        """Notes that the candidate is asked now; in a half-open circuit that is a probe."""
        circuit = self._known.get(candidate)
        if circuit is not None and circuit.open_until:
            circuit.probes = self._running_probes(circuit, self.clock()) + 1
            circuit.probed_at = self.clock()
            self.changed(candidate, circuit)

    def note_abandoned(self, candidate: Candidate) -> None:
        """Notes an attempt whose end says nothing about the provider: its client went away."""
        circuit = self._known.get(candidate)
        if circuit is not None and circuit.probes:
            circuit.probes -= 1
            self.changed(candidate, circuit)

    def note_success(self, candidate: Candidate) -> None:
        """Notes that the provider responded."""
        circuit = self._known.get(candidate)
        if circuit is None or not (circuit.failures or circuit.open_until or circuit.probes):
            return
        circuit.failures, circuit.open_until, circuit.probes = 0, 0.0, 0
        self.changed(candidate, circuit)

    def note_failure(self, candidate: Candidate, policy: BreakerPolicy) -> None:
        """Notes a fault of the provider."""
        circuit = self._touch(candidate)
        circuit.failures += 1
        circuit.probes = max(0, circuit.probes - 1)
        if circuit.open_until or circuit.failures >= policy.failure_threshold:
            circuit.open_until = self.clock() + policy.reset_timeout_ms / 1000
        self.changed(candidate, circuit)

    def cool(self, candidate: Candidate, seconds: float) -> None:
        """Starts a cooldown: the provider asked for a pause of that length."""
        circuit = self._touch(candidate)
        circuit.cool_until = max(circuit.cool_until, self.clock() + seconds)
        self.changed(candidate, circuit)

    def learn(self, candidate: Candidate, heard: Circuit) -> None:
        """Replaces a circuit by what another process knows."""
        known = self._touch(candidate)
        known.failures, known.open_until, known.cool_until = heard.failures, heard.open_until, heard.cool_until
        known.probes, known.probed_at = heard.probes, heard.probed_at

    def reset(self) -> None:
        """Forgets all circuits."""
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
"""Process-wide instance."""
