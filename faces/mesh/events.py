"""The vocabulary of a tenant's mesh stream (docs/protocol-agentmesh.md, "Live events").

Every event is stored as the frame's object, with `type` and `timestamp`, so a follower sends it as it is. The stream
also counts the events of the sessions of tasks that stream; their deltas are shown as `task.progress`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar

from core_app import jsontext
from events_app.types import Event, Vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskEvent(Event):
    """Base of events of a task."""

    task_id: str
    space_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSubmitted(TaskEvent):
    type: ClassVar[str] = "task.submitted"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskAssigned(TaskEvent):
    type: ClassVar[str] = "task.assigned"
    agent_id: str
    agent_ids: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskStarted(TaskEvent):
    type: ClassVar[str] = "task.started"
    agent_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCompleted(TaskEvent):
    type: ClassVar[str] = "task.completed"
    agent_id: str | None
    result: Any
    partial: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFailed(TaskEvent):
    type: ClassVar[str] = "task.failed"
    agent_id: str | None
    error: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentRegistered(Event):
    type: ClassVar[str] = "agent.registered"
    agent_id: str
    agent: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentUnregistered(Event):
    type: ClassVar[str] = "agent.unregistered"
    agent_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentStatus(Event):
    type: ClassVar[str] = "agent.status"
    agent_id: str
    status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextUpdated(Event):
    """A message or an artifact of a space is new, changed or gone; `change` says which."""

    type: ClassVar[str] = "context.updated"
    space_id: str
    change: str
    message_id: str | None = None
    artifact: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Broadcast(Event):
    """A client's own event; `name` is its type on the wire."""

    type: ClassVar[str] = "broadcast"
    name: str
    data: Any


OPTIONAL = frozenset({"space_id", "agent_id", "partial", "message_id", "artifact"})
"""Fields that are left out where they are None."""


class MeshVocabulary(Vocabulary):
    """Encodes events as the objects of frames, in snake_case."""

    def write(self, event: Event, run_id: str | None, at: str) -> bytes:
        """The whole object of the frame."""
        data = {field.name: getattr(event, field.name) for field in fields(event)}
        kept = {name: value for name, value in data.items() if value is not None or name not in OPTIONAL}
        shown: Mapping[str, Any] = {"type": kept.pop("name", event.type), **kept, "timestamp": _milliseconds(at)}
        return jsontext.encode(shown)


def _milliseconds(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


MESH_EVENTS = MeshVocabulary(
    "mesh",
    [
        TaskSubmitted,
        TaskAssigned,
        TaskStarted,
        TaskCompleted,
        TaskFailed,
        AgentRegistered,
        AgentUnregistered,
        AgentStatus,
        ContextUpdated,
        Broadcast,
    ],
)
"""The closed vocabulary of mesh streams."""

_FRAMES = ("task.progress", "task_status", "connected", "welcome", "heartbeat", "events_dropped")
"""Types of frames that are no events of the log."""

RESERVED_TYPES = frozenset({*MESH_EVENTS.events, *_FRAMES})
"""Types that no broadcast may have: clients would take it for the gateway's own event."""
