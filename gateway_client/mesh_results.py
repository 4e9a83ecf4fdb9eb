"""The objects of the AgentMesh protocol, as frozen values. Times are whole milliseconds since 1970."""

from __future__ import annotations

from typing import Any

import msgspec

ENDED = frozenset({"completed", "failed", "cancelled"})
"""The states that a task does not leave."""


class MeshResult(msgspec.Struct, frozen=True, kw_only=True):
    """Base of these results. Unknown fields are ignored, because the gateway adds fields."""


class TaskReceipt(MeshResult, frozen=True):
    task_id: str
    status: str


class TaskError(MeshResult, frozen=True):
    """The reason of a task's end. `code` is `EXECUTION_ERROR`, `TIMEOUT`, `CANCELLED` or `TASK_FAILED`."""

    code: str
    message: str


class TaskSummary(MeshResult, frozen=True):
    """A task in a list. `status` is `pending`, `assigned`, `running`, `completed`, `failed` or `cancelled`."""

    id: str
    status: str
    assigned_agents: list[str]
    created_at: int
    updated_at: int


class Task(MeshResult, frozen=True):
    """A task. `result` is its text, of a broadcast an object by agent; `partial` when some of those failed."""

    id: str
    status: str
    assigned_agents: list[str]
    created_at: int
    updated_at: int
    result: Any
    error: TaskError | None
    session_ids: list[str]
    partial: bool = False
    shared_space_id: str | None = None
    pipeline_id: str | None = None
    step: int | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class PipelineReceipt(MeshResult, frozen=True):
    pipeline_id: str
    task_ids: list[str]


class SpaceInfo(MeshResult, frozen=True):
    shared_space_id: str
    message_count: int
    artifact_count: int
    metadata: dict[str, Any]
    created_at: int
    updated_at: int


class SpaceMessage(MeshResult, frozen=True):
    id: str
    role: str
    content: str
    created_at: int
    offset: int


class SpaceMessagePage(MeshResult, frozen=True):
    """Messages, the oldest of them first; `next_cursor` leads to those before them."""

    messages: list[SpaceMessage]
    next_cursor: str | None


class Artifact(MeshResult, frozen=True):
    name: str
    size: int
    media_type: str
    updated_at: int


class SearchHit(MeshResult, frozen=True):
    """Something that a search found: `kind` is `message` (with `id`) or `artifact` (with `name`)."""

    kind: str
    excerpt: str
    score: float
    id: str | None = None
    name: str | None = None


class AgentInfo(MeshResult, frozen=True):
    """An agent of the directory. `status` is `online`, `busy` or `offline`."""

    id: str
    name: str
    type: str
    capabilities: list[str]
    status: str
    endpoint: str | None
    last_seen: int | None = msgspec.field(name="lastSeen")


class BroadcastReceipt(MeshResult, frozen=True):
    delivered: bool
    client_count: int
