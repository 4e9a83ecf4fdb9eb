"""Turns of crowded groups: how the legs of several processes commit to one group without one of them waiting for ever.

The flusher skips a stream whose group another process holds, and tries again. With several processes that share a group
one of them holds it most of the time, and whoever only tries may never find it free. Here one thread waits for the
group's row in the database's queue, takes what all legs of this process in that group have by then, and commits it in a
transaction of its own. It holds nothing while it waits, and waits for nothing afterwards, so nobody waits in a circle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from django.db import connections

from events_app.leg_writer import LegWriter

WAIT_SECONDS = 0.1
"""The longest wait for a group's row, in the queue with other processes. Other crowded groups of this process wait
meanwhile, and then have their turns."""

CROWDED_SECONDS = 1.0
"""For how long after it was found locked a group is waited for at once, without a look whether it is free."""

Take = Callable[[], Sequence[LegWriter]]
Turn = Callable[[int, Take], float]
"""Waits for a group, calls `take` unless it stays locked, commits, and returns how long the group pauses."""

GiveBack = Callable[[Sequence[LegWriter], Sequence[LegWriter]], None]
"""Takes writers that have more after their turn, and those that had none. Called with the guard."""


class GroupTurns:
    """The crowded groups and their writers. `guard` is the flusher's; `join` and `holds` are called with it.

    A writer is here from `join` until it is left to the flusher again: events that it emits meanwhile are taken by its
    next turn, because a writer has one committer at a time.
    """

    def __init__(self, guard: threading.RLock, turn: Turn, give_back: GiveBack) -> None:
        self._guard = guard
        self._some = threading.Condition(guard)
        self._turn = turn
        self._give_back = give_back
        self._waiting: dict[int, dict[LegWriter, None]] = {}
        self._taken: dict[LegWriter, bool] = {}
        """The writers whose events are being committed, and whether they have more by now."""
        self._pauses: dict[int, float] = {}
        """Times of groups' next turns, by the monotonic clock; a group without an entry may have its turn at once."""
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def busy(self) -> bool:
        """True while a writer is here."""
        return bool(self._waiting or self._taken)

    @property
    def alive(self) -> bool:
        """False when the thread has ended that writers here wait for."""
        return self._thread is None or self._thread.is_alive()

    def holds(self, writer: LegWriter) -> bool:
        """True while the writer is here; what it has emitted is noted."""
        if writer in self._taken:
            self._taken[writer] = True
            return True
        return writer in self._waiting.get(writer.group_id or 0, ())

    def join(self, writer: LegWriter, group_id: int) -> None:
        """Lets the writer's events be committed when it is its group's turn."""
        writer.group_id = group_id
        self._waiting.setdefault(group_id, {})[writer] = None
        if self._thread is None or not self._thread.is_alive():
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="gateway-group-flusher", daemon=True)
            self._thread.start()
        self._some.notify()

    def hurry(self) -> None:
        """Ends the pauses between turns. Called without the guard."""
        if self._pauses:
            with self._guard:
                self._pauses.clear()
                self._some.notify()

    def stop(self) -> None:
        """Commits what waits, gives back what cannot be committed, and ends the thread. Called without the guard."""
        with self._guard:
            self._stopping = True
            self._pauses.clear()
            self._some.notify()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        try:
            while (group_id := self._next()) is not None:
                pause = self._turn(group_id, partial(self._take, group_id))
                self._end_turn(group_id, pause)
        finally:
            connections.close_all()

    def _next(self) -> int | None:
        """Waits for a group with writers whose pause is over; None once this stops and no writer waits."""
        with self._guard:
            while True:
                now = time.monotonic()
                for group_id in self._waiting:
                    if self._pauses.get(group_id, 0.0) <= now:
                        self._pauses.pop(group_id, None)
                        return group_id
                if self._stopping and not self._waiting:
                    return None
                pauses = [self._pauses[group_id] for group_id in self._waiting]
                self._some.wait(min(pauses) - now if pauses else None)

    def _take(self, group_id: int) -> Sequence[LegWriter]:
        with self._guard:
            writers = self._waiting.pop(group_id, {})
            self._taken = dict.fromkeys(writers, False)
            return list(writers)

    def _end_turn(self, group_id: int, pause: float) -> None:
        """Leaves to the flusher the writers that have more, and those that were not taken because the group stayed
        locked."""
        with self._guard:
            more = [writer for writer, has_more in self._taken.items() if has_more]
            untaken = [] if self._taken else list(self._waiting.pop(group_id, {}))
            self._taken = {}
            if pause and not self._stopping:
                self._pauses[group_id] = time.monotonic() + pause
            self._give_back(more, untaken)
