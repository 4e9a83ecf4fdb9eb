"""Runs several actors in every order of their steps, each in a thread with a database connection of its own.

An actor calls `pause()` between its steps. An actor that waits for another's lock, which PostgreSQL reports, completes
its step as soon as it can. So an order that cannot happen becomes the nearest possible one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from django.db import connection, connections

STEP_SECONDS = 60.0
_here = threading.local()


def pause() -> None:
    """Ends a step of the current thread's actor. Does nothing in other threads."""
    actor: Actor | None = getattr(_here, "actor", None)
    if actor is not None:
        actor.pause()


class Actor:
    """Runs an action step by step."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
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

    def wait_settled(self) -> bool:
        """Waits until the actor is idle (True) or blocked by another's lock (False)."""
        for _ in range(int(STEP_SECONDS / 0.001)):
            if self.idle.wait(0.001):
                return True
            if self.pid and _is_blocked(self.pid):
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
            self._action()
        except BaseException as error:  # raised again in the test's thread
            self.failure = error
        finally:
            connections.close_all()
            self.finished = True
            self.idle.set()


def perform(order: Sequence[str], actions: Mapping[str, Callable[[], object]]) -> None:
    """Runs the steps of the actions in `order`, then the rest of each. Raises an error of any action."""
    actors = {name: Actor(action) for name, action in actions.items()}
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
    """Yields every order of the given numbers of steps."""
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
        each.wait_settled()


def _is_blocked(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid])
        return bool(cursor.fetchone()[0])
