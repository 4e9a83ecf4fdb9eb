"""Tasks, spaces, agents and webhooks for programs without an event loop: the methods are those of the classes that
`gateway_client.tasks`, `spaces`, `agents` and `webhook_admin` have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway_client.agents import AsyncAgents
from gateway_client.background import BackgroundLoop, Stream
from gateway_client.mesh_results import (
    AgentInfo,
    Artifact,
    BroadcastReceipt,
    PipelineReceipt,
    SearchHit,
    SpaceInfo,
    SpaceMessage,
    Task,
    TaskReceipt,
    TaskSummary,
)
from gateway_client.spaces import AsyncSpaces
from gateway_client.tasks import AsyncTasks
from gateway_client.tasks import TaskStream as AsyncTaskStream
from gateway_client.webhook_admin import AsyncWebhooks, Delivery, Webhook


class TaskStream(Stream):
    """The live events of one task, as an iterator up to its end."""

    def __init__(self, loop: BackgroundLoop, stream: AsyncTaskStream) -> None:
        super().__init__(loop, stream)
        self._task_stream = stream

    @property
    def task_id(self) -> str | None:
        return self._task_stream.task_id

    def task(self) -> Task:
        """Reads to the end of the task and returns it. Raises TaskFailed when it failed or was cancelled."""
        return self._loop.run(self._task_stream.task())


class Tasks:
    """The tasks of the key's tenant."""

    def __init__(self, loop: BackgroundLoop, tasks: AsyncTasks) -> None:
        self._loop = loop
        self._tasks = tasks

    def submit(self, text: str, *, key: str | None = None, **fields: object) -> TaskReceipt:
        return self._loop.run(self._tasks.submit(text, key=key, **fields))

    def run(self, text: str, *, timeout: float | None = None, key: str | None = None, **fields: object) -> TaskStream:
        return TaskStream(self._loop, self._tasks.run(text, timeout=timeout, key=key, **fields))

    def follow(self, task_id: str, *, timeout: float | None = None) -> TaskStream:
        return TaskStream(self._loop, self._tasks.follow(task_id, timeout=timeout))

    def events(self, *, space_id: str | None = None, since: str | None = None, timeout: float | None = None) -> Stream:
        return Stream(self._loop, self._tasks.events(space_id=space_id, since=since, timeout=timeout))

    def get(self, task_id: str) -> Task:
        return self._loop.run(self._tasks.get(task_id))

    def list(
        self, *, status: str | None = None, agent: str | None = None, limit: int | None = None
    ) -> Iterator[TaskSummary]:
        return self._loop.iterate(self._tasks.list(status=status, agent=agent, limit=limit))

    def cancel(self, task_id: str) -> None:
        self._loop.run(self._tasks.cancel(task_id))

    def pipeline(
        self, steps: Sequence[tuple[str, str]], text: str, *, key: str | None = None, **options: object
    ) -> PipelineReceipt:
        return self._loop.run(self._tasks.pipeline(steps, text, key=key, **options))

    def broadcast(self, type: str, data: object = None) -> BroadcastReceipt:
        return self._loop.run(self._tasks.broadcast(type, data))


class Spaces:
    """The spaces of the key's tenant."""

    def __init__(self, loop: BackgroundLoop, spaces: AsyncSpaces) -> None:
        self._loop = loop
        self._spaces = spaces

    def create(self, metadata: Mapping[str, Any] | None = None, *, key: str | None = None) -> str:
        return self._loop.run(self._spaces.create(metadata, key=key))

    def get(self, space_id: str) -> SpaceInfo:
        return self._loop.run(self._spaces.get(space_id))

    def add_message(
        self, space_id: str, content: str, *, role: str | None = None, key: str | None = None, **fields: object
    ) -> SpaceMessage:
        return self._loop.run(self._spaces.add_message(space_id, content, role=role, key=key, **fields))

    def messages(self, space_id: str, *, limit: int = 100) -> Iterator[SpaceMessage]:
        return self._loop.iterate(self._spaces.messages(space_id, limit=limit))

    def artifacts(self, space_id: str) -> Sequence[Artifact]:
        return self._loop.run(self._spaces.artifacts(space_id))

    def artifact(self, space_id: str, name: str) -> bytes:
        return self._loop.run(self._spaces.artifact(space_id, name))

    def store_artifact(
        self, space_id: str, name: str, content: bytes, media_type: str = "application/octet-stream"
    ) -> Artifact:
        return self._loop.run(self._spaces.store_artifact(space_id, name, content, media_type))

    def delete_artifact(self, space_id: str, name: str) -> None:
        self._loop.run(self._spaces.delete_artifact(space_id, name))

    def search(
        self, space_id: str, query: str, *, mode: str | None = None, limit: int | None = None
    ) -> Sequence[SearchHit]:
        return self._loop.run(self._spaces.search(space_id, query, mode=mode, limit=limit))


class Agents:
    """The agents that the key's tenant may use."""

    def __init__(self, loop: BackgroundLoop, agents: AsyncAgents) -> None:
        self._loop = loop
        self._agents = agents

    def list(self) -> Sequence[AgentInfo]:
        return self._loop.run(self._agents.list())

    def get(self, agent_id: str) -> AgentInfo:
        return self._loop.run(self._agents.get(agent_id))

    def register(self, agent_id: str, type: str, **fields: object) -> None:
        self._loop.run(self._agents.register(agent_id, type, **fields))

    def change(self, agent_id: str, **fields: object) -> AgentInfo:
        return self._loop.run(self._agents.change(agent_id, **fields))

    def remove(self, agent_id: str) -> None:
        self._loop.run(self._agents.remove(agent_id))

    def heartbeat(self, agent_id: str, status: str = "online") -> None:
        self._loop.run(self._agents.heartbeat(agent_id, status))


class Webhooks:
    """The webhooks of the key's tenant."""

    def __init__(self, loop: BackgroundLoop, webhooks: AsyncWebhooks) -> None:
        self._loop = loop
        self._webhooks = webhooks

    def list(self) -> Sequence[Webhook]:
        return self._loop.run(self._webhooks.list())

    def get(self, webhook_id: str) -> Webhook:
        return self._loop.run(self._webhooks.get(webhook_id))

    def create(
        self, url: str, events: Sequence[str], *, description: str | None = None, key: str | None = None
    ) -> Webhook:
        return self._loop.run(self._webhooks.create(url, events, description=description, key=key))

    def change(self, webhook_id: str, **fields: object) -> Webhook:
        return self._loop.run(self._webhooks.change(webhook_id, **fields))

    def delete(self, webhook_id: str) -> None:
        self._loop.run(self._webhooks.delete(webhook_id))

    def rotate(self, webhook_id: str, *, key: str | None = None) -> Webhook:
        return self._loop.run(self._webhooks.rotate(webhook_id, key=key))

    def test(self, webhook_id: str, *, key: str | None = None) -> Delivery:
        return self._loop.run(self._webhooks.test(webhook_id, key=key))

    def deliveries(self, webhook_id: str, *, status: str | None = None) -> Iterator[Delivery]:
        return self._loop.iterate(self._webhooks.deliveries(webhook_id, status=status))

    def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        return self._loop.run(self._webhooks.redeliver(webhook_id, delivery_id))

    def redeliver_dead(self, webhook_id: str) -> int:
        return self._loop.run(self._webhooks.redeliver_dead(webhook_id))
