"""Observers of runs: rooms and faces above this one that keep rows about runs, such as tasks.

An observer is called in the transaction that starts or ends a run, under the lock of its session's stream, so its rows
and the run agree after any crash. It asks for a run by the marker that it has put into the prompt's metadata; all other
runs cost nothing. An error of its code is logged and leaves the run as it is; an error of the database undoes both.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from django.db import DatabaseError, transaction

from core_app.lifecycle import process_wide
from sessions_app.models import AgentSession, Run

logger = structlog.get_logger("gateway.runs")


class RunObserver:
    """Base of observers. `marker` is a text that the metadata of every observed run contains, as encoded JSON."""

    marker: str

    def run_started(self, session: AgentSession, run: Run) -> None:
        """The first leg of the run starts; `agent_start` is appended after this."""

    def run_ended(self, session: AgentSession, run: Run) -> None:
        """The run has its final state, and its terminal event is appended."""


class RunObservers:
    """The registered observers. Filled by `AppConfig.ready` of their apps."""

    def __init__(self) -> None:
        self._observers: list[RunObserver] = []

    def register(self, observer: RunObserver) -> None:
        """Calls the observer from now on."""
        self._observers.append(observer)

    def notify_started(self, session: AgentSession, run: Run) -> None:
        """Tells the run's observers that it starts."""
        for observer in self._of(run):
            _contain(observer.run_started, session, run)

    def notify_ended(self, session: AgentSession, run: Run) -> None:
        """Tells the run's observers that it has ended."""
        for observer in self._of(run):
            _contain(observer.run_ended, session, run)

    def _of(self, run: Run) -> list[RunObserver]:
        return [observer for observer in self._observers if observer.marker in run.metadata]


def _contain(observe: Callable[[AgentSession, Run], None], session: AgentSession, run: Run) -> None:
    try:
        with transaction.atomic():
            observe(session, run)
    except DatabaseError:
        raise  # a deadlock or a lost connection: whoever commits the run tries again
    except Exception:  # contains: a fault of an observer must not keep a run from ending
        logger.exception("run_observer_failed", run=run.pk)


RUN_OBSERVERS = process_wide(RunObservers())
"""Process-wide instance."""
