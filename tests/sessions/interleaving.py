"""Several actors in every order of their steps, each in a thread with a database connection of its own.

An actor calls `pause()` between its steps. One that waits for a row another holds is left waiting (PostgreSQL says
who blocks whom) and makes its step up as soon as it can, so an order that cannot happen becomes the nearest that can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from django.db import connection, connections

STEP_SECONDS = 60.0
_here = threading.local()


def pause() -> None:
    """Ends a step of the actor whose thread this is; in no actor's thread nothing."""
    actor: Actor | None = getattr(_here, "actor", None)
    if actor is not None:
        actor.pause()


class Actor:
    """`work`, a step at a time."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._go = threading.Semaphore(0)
        self.idle = threading.Event()
        self.idle.set()
        self.finished = False
        self.failure: BaseException | None = None
        self.pid = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def step(self) -> None:
        self.idle.clear()
        self._go.release()

    def pause(self) -> None:
        self.idle.set()
        assert self._go.acquire(timeout=STEP_SECONDS * 4)

    def settled(self) -> bool:
        """Waits until it is idle (True) or another's lock keeps it (False)."""
        for _ in range(int(STEP_SECONDS / 0.001)):
            if self.idle.wait(0.001):
                return True
            if self.pid and _blocked(self.pid):
                return False
        raise AssertionError("a step neither ended nor waits for a lock")

    def end(self) -> None:
        self._thread.join(STEP_SECONDS)

    def _run(self) -> None:
        assert self._go.acquire(timeout=STEP_SECONDS * 4)
        _here.actor = self
        try:
            connection.ensure_connection()
            self.pid = connection.connection.info.backend_pid
            self._work()
        except BaseException as error:  # told to the test, in whose thread it belongs
            self.failure = error
        finally:
            connections.close_all()
            self.finished = True
            self.idle.set()


def perform(order: Sequence[str], works: Mapping[str, Callable[[], object]]) -> None:
    """Lets the actors of `works` take their steps in `order`, then to their ends; raises what one raised."""
    actors = {name: Actor(work) for name, work in works.items()}
    for name in order:
        _step(actors[name], actors.values())
    while any(not actor.finished for actor in actors.values()):
        for actor in actors.values():
            _step(actor, actors.values())
    for actor in actors.values():
        actor.end()
        if actor.failure is not None:
            raise actor.failure


def orders(steps: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """Every order of so many steps of each."""
    if not any(steps.values()):
        yield ()
    for name, left in steps.items():
        if left:
            for rest in orders({**steps, name: left - 1}):
                yield (name, *rest)


def _step(actor: Actor, everybody: Iterable[Actor]) -> None:
    if not actor.finished and actor.idle.is_set():
        actor.step()
    for each in everybody:
        each.settled()


def _blocked(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid])
        return bool(cursor.fetchone()[0])
