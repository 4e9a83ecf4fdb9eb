"""Registration of the room with those below it: runs, the sweep, retention and erasure."""

from __future__ import annotations

from agents_app.registry import engine_register
from responses_app.apps import ENGINE
from responses_app.removal import ResponsesDependent
from responses_app.settlement import ResponseRuns
from responses_app.threads.removal import ThreadsDependent
from sessions_app.dependents import DEPENDENTS
from sessions_app.run_observers import RUN_OBSERVERS


def register() -> None:
    """Called once, when Django starts."""
    engine_register(ENGINE, "responses_app.engine")
    RUN_OBSERVERS.register(ResponseRuns())
    DEPENDENTS.register(ResponsesDependent())
    DEPENDENTS.register(ThreadsDependent())
