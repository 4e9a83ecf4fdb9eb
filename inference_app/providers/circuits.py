"""Circuit breakers and cooldowns: for each provider and model, whether a tenant may ask it now.

There are two circuits for each call. The tenant's own opens after its failed calls in a row, so a deployment with one
tenant has a breaker, too. The circuit of all opens when connecting fails, or when calls of several tenants fail
(`call_window`); no tenant opens it alone. A 429 cools the tenant's own calls, and those of all once a second tenant has
got one and nobody an answer in between.

closed: failed calls are counted, and a success clears the count. open: no request for the reset time. half-open: a
limited number of probes at once; one that succeeds closes the circuit, one that fails opens it again. The tenant whose
failure opened the circuit of all last is no probe while others wait. A call counts once, however often it was tried,
and a caller's mistake counts as a success, because the provider responded. Tenants, cooldowns and the sharing between
processes (`inference_app.providers.state_sync`) are the reasons why no library is used.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from core_app.lifecycle import process_wide
from inference_app.catalogue.config import BreakerPolicy
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.call_window import Calls, CallWindow, is_failing, sum_calls
from inference_app.providers.circuit_state import Circuit, Key, State

K = TypeVar("K")
V = TypeVar("V")

MAX_CIRCUITS = 10_000
"""The limit of circuits of all tenants together, because clients may send any model name; the longest unused ones are
forgotten."""

MAX_OF_TENANT = 64
"""The limit of one tenant's own circuits: its further ones replace its own, and no other tenant's."""

MAX_TENANTS = 2000

_NO_TENANT: Mapping[Candidate, Circuit] = {}


class Circuits:
    """The circuits that this process knows. `changed` is called after every change of one."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._known: OrderedDict[Candidate, Circuit] = OrderedDict()
        self._of_tenants: OrderedDict[int, OrderedDict[Candidate, Circuit]] = OrderedDict()
        self._windows: OrderedDict[Candidate, CallWindow] = OrderedDict()
        self.other_windows: Mapping[Candidate, Calls] = {}
        """The calls that other processes made (`inference_app.providers.state_sync`)."""
        self.changed: Callable[[Key, Circuit], None] = lambda key, circuit: None
        self._window_seconds = BreakerPolicy().window_ms / 1000

    def __iter__(self) -> Iterator[Candidate]:
        """Yields the candidates about which something is known."""
        of_tenants = (candidate for circuits in self._of_tenants.values() for candidate in circuits)
        return iter(list(dict.fromkeys((*self._known, *of_tenants))))

    def get(self, key: Key) -> Circuit:
        """Returns a circuit; a new one if nothing is known."""
        return self._find(key) or Circuit()

    def state(self, candidate: Candidate) -> State:
        """Returns the state of the circuit of all. While nobody is answered, it is that of the tenants who ask."""
        now, shared = self.clock(), self._known.get(candidate)
        if shared is not None and shared.open_until:
            return shared.state(now)
        window = self._windows.get(candidate)
        answered_at = 0.0 if window is None else window.answered_at
        own = (circuits.get(candidate) for circuits in self._of_tenants.values())
        states = {c.state(now) for c in own if c is not None and c.open_until and c.opened_at >= answered_at}
        return "OPEN" if "OPEN" in states else "HALF_OPEN" if "HALF_OPEN" in states else "CLOSED"

    def blocked_for(self, candidate: Candidate, policy: BreakerPolicy, tenant_id: int) -> float | None:
        """Returns the seconds until the tenant may ask the candidate; None: now."""
        if not self._known and not self._of_tenants:
            return None
        shared = self._known.get(candidate)
        own = self._of_tenants.get(tenant_id, _NO_TENANT).get(candidate)
        if shared is None and own is None:
            return None
        now = self.clock()
        if shared is not None and shared.open_until:
            # Whoever waits here is a better probe than the tenant that failed.
            self._window(candidate).add(tenant_id, now, self._window_seconds, calls=0)
        circuits = [circuit for circuit in (shared, own) if circuit is not None]
        until = max(circuit.blocked_until for circuit in circuits)
        if until > now:
            return until - now
        for circuit in circuits:
            if circuit.open_until and circuit.running_probes(now) >= policy.half_open_max_requests:
                return 1.0
        if shared is not None and shared.open_until and shared.culprit == tenant_id:
            turn = shared.open_until + policy.reset_timeout_ms / 1000
            if now < turn and self._window(candidate).has_others(tenant_id):
                return turn - now
        return None

    def is_open(self, candidate: Candidate, tenant_id: int) -> bool:
        """True if a circuit of the tenant's calls is open."""
        now = self.clock()
        return any(circuit.open_until > now for _, circuit in self._both(candidate, tenant_id))

    def begin(self, candidate: Candidate, tenant_id: int) -> None:
        """Notes a call to the candidate that begins now; in a half-open circuit that is a probe."""
        for key, circuit in self._both(candidate, tenant_id):
            if circuit.open_until:
                now = self.clock()
                circuit.probes, circuit.probed_at = circuit.running_probes(now) + 1, now
                self.changed(key, circuit)

    def note_abandoned(self, candidate: Candidate, tenant_id: int) -> None:
        """Notes a call whose end says nothing about the provider: its client went away."""
        for key, circuit in self._both(candidate, tenant_id):
            if circuit.probes:
                circuit.probes -= 1
                self.changed(key, circuit)

    def note_first_byte(self, candidate: Candidate, tenant_id: int) -> None:
        """Closes a half-open circuit as soon as a probe is answered: a stream may take minutes."""
        if any(circuit.open_until for _, circuit in self._both(candidate, tenant_id)):
            self.note_success(candidate, tenant_id)

    def note_success(self, candidate: Candidate, tenant_id: int) -> None:
        """Notes that the provider responded."""
        circuits = self._both(candidate, tenant_id)
        window = self._windows.get(candidate) if self._windows else None
        if window is None and not circuits:
            return
        now = self.clock()
        for key, circuit in circuits:
            if key.tenant_id is None and circuit.open_until and window is not None:
                window.clear()
            if circuit.failures or circuit.open_until or circuit.probes:
                circuit.failures, circuit.open_until, circuit.probes = 0, 0.0, 0
                self.changed(key, circuit)
            if circuit.cool_until <= now:
                self._forget(key)
        if window is not None:
            window.answered_at = now
            window.limited.clear()
            window.add(tenant_id, now, self._window_seconds)
            if not any(failed for _, failed in window.calls(now, self._window_seconds).values()):
                # It works again: its next calls cost nothing here.
                del self._windows[candidate]

    def note_failure(
        self, candidate: Candidate, policy: BreakerPolicy, tenant_id: int, *, connecting: bool = False
    ) -> None:
        """Notes a failed call. `connecting`: no request was sent, so its content is not the reason."""
        self._window_seconds = policy.window_ms / 1000
        now = self.clock()
        window = self._window(candidate)
        window.add(tenant_id, now, self._window_seconds, failed=1)
        self._fail(Key(tenant_id, candidate), policy, tenant_id)
        shared = self._known.get(candidate)
        if (shared is not None and shared.open_until) or connecting:
            self._fail(Key(None, candidate), policy, tenant_id)
        elif is_failing(self._calls(candidate, window, now), policy):
            self._open(Key(None, candidate), policy, tenant_id)
        elif shared is not None and shared.failures:
            shared.failures = 0
            self.changed(Key(None, candidate), shared)

    def cool(self, candidate: Candidate, seconds: float, tenant_id: int) -> None:
        """Starts a cooldown: the provider asked for a pause of that length."""
        limited = self._window(candidate).limited
        if len(limited) < 2:
            limited.add(tenant_id)
        keys = [Key(tenant_id, candidate)]
        if len(limited) > 1:
            keys.append(Key(None, candidate))
        for key in keys:
            circuit = self._touch(key)
            circuit.cool_until = max(circuit.cool_until, self.clock() + seconds)
            self.changed(key, circuit)

    def learn(self, key: Key, heard: Circuit) -> None:
        """Replaces a circuit by what another process knows."""
        known = self._find(key)
        if known is not None and known.open_until and not heard.open_until and key.tenant_id is None:
            self._window(key.candidate).clear()
        if heard.failures or heard.open_until or heard.probes or heard.cool_until > self.clock():
            circuit = self._touch(key)
            for name in Circuit.__slots__:
                setattr(circuit, name, getattr(heard, name))
        elif known is not None:
            self._forget(key)

    def window_report(self) -> Mapping[Candidate, Calls]:
        """Returns the calls that this process counted, for the other processes."""
        now = self.clock()
        found = {candidate: window.calls(now, self._window_seconds) for candidate, window in self._windows.items()}
        return {candidate: calls for candidate, calls in found.items() if calls}

    def reset(self) -> None:
        """Forgets all circuits."""
        self._known.clear()
        self._of_tenants.clear()
        self._windows.clear()
        self.other_windows = {}

    def _calls(self, candidate: Candidate, window: CallWindow, now: float) -> Calls:
        return sum_calls((window.calls(now, self._window_seconds), self.other_windows.get(candidate, {})))

    def _fail(self, key: Key, policy: BreakerPolicy, tenant_id: int) -> None:
        circuit = self._touch(key)
        circuit.failures += 1
        circuit.probes = max(0, circuit.probes - 1)
        if circuit.open_until or circuit.failures >= policy.failure_threshold:
            self._open(key, policy, tenant_id)
        else:
            self.changed(key, circuit)

    def _open(self, key: Key, policy: BreakerPolicy, tenant_id: int) -> None:
        circuit = self._touch(key)
        circuit.opened_at = self.clock()
        circuit.open_until, circuit.culprit = circuit.opened_at + policy.reset_timeout_ms / 1000, tenant_id
        self.changed(key, circuit)

    def _both(self, candidate: Candidate, tenant_id: int) -> Sequence[tuple[Key, Circuit]]:
        """Returns what is known: the circuit of all and the tenant's own."""
        if not self._known and not self._of_tenants:
            # Nothing fails, the usual state: a candidate's hash is a call of its own.
            return ()
        shared = self._known.get(candidate)
        own = self._of_tenants.get(tenant_id, _NO_TENANT).get(candidate)
        if shared is None and own is None:
            return ()
        found = ((Key(None, candidate), shared), (Key(tenant_id, candidate), own))
        return [(key, circuit) for key, circuit in found if circuit is not None]

    def _forget(self, key: Key) -> None:
        if key.tenant_id is None:
            del self._known[key.candidate]
            return
        mine = self._of_tenants[key.tenant_id]
        del mine[key.candidate]
        if not mine:
            del self._of_tenants[key.tenant_id]

    def _find(self, key: Key) -> Circuit | None:
        circuits = self._known if key.tenant_id is None else self._of_tenants.get(key.tenant_id, _NO_TENANT)
        return circuits.get(key.candidate)

    def _touch(self, key: Key) -> Circuit:
        if key.tenant_id is None:
            return _touch_in(self._known, key.candidate, MAX_CIRCUITS, Circuit)
        mine = _touch_in(self._of_tenants, key.tenant_id, MAX_TENANTS, OrderedDict[Candidate, Circuit])
        return _touch_in(mine, key.candidate, MAX_OF_TENANT, Circuit)

    def _window(self, candidate: Candidate) -> CallWindow:
        return _touch_in(self._windows, candidate, MAX_CIRCUITS, lambda: CallWindow(self.clock()))


def _touch_in(known: OrderedDict[K, V], key: K, limit: int, create: Callable[[], V]) -> V:
    """Returns the value of `key`, created where it is missing, as the one used last; forgets those beyond the limit."""
    value = known.get(key)
    if value is None:
        value = known[key] = create()
    known.move_to_end(key)
    while len(known) > limit:
        known.popitem(last=False)
    return value


CIRCUITS = process_wide(Circuits(), reset=Circuits.reset)
"""Process-wide instance."""
