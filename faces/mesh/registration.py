"""What the face asks the rooms below it to tell: the ends of runs, the sweep, retention and erasure."""

from __future__ import annotations

from faces.mesh.removal import MeshDependent
from faces.mesh.task_runs import TaskRuns
from sessions_app.dependents import DEPENDENTS
from sessions_app.run_observers import RUN_OBSERVERS


def register() -> None:
    """Called once, when Django starts."""
    RUN_OBSERVERS.register(TaskRuns())
    DEPENDENTS.register(MeshDependent())
