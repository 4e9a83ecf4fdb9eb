"""Registration of the face with the rooms below it: changes of agents, runs, the sweep, retention and erasure."""

from __future__ import annotations

from agents_app.agent_changes import agent_changes_subscribe
from faces.mesh.agents import agent_changed
from faces.mesh.removal import MeshDependent
from faces.mesh.task_runs import TaskRuns
from sessions_app.dependents import DEPENDENTS
from sessions_app.run_observers import RUN_OBSERVERS


def register() -> None:
    """Called once, when Django starts."""
    RUN_OBSERVERS.register(TaskRuns())
    DEPENDENTS.register(MeshDependent())
    agent_changes_subscribe(agent_changed)
