"""Tasks of the AgentMesh protocol: submitted, followed to their end, cancelled; and the tenant's live events.

`run` opens the live events before it submits, so nothing of the task is missed, whatever breaks.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from gateway_client.errors import GatewayError, TaskFailed
from gateway_client.event_stream import EventStream
from gateway_client.events import Event, camel_case, event_decode
from gateway_client.mesh_results import ENDED, BroadcastReceipt, PipelineReceipt, Task, TaskReceipt, TaskSummary
from gateway_client.replies import Replies
from gateway_client.streams import sse_follow
from gateway_client.transport import Transport, decode

COMPLETED, FAILED = "task.completed", "task.failed"
NO_POSITION = "0"
"""The id of an event that comes before the first position of its stream."""
PAGE = 100


class TaskStream(EventStream):
    """The live events of one task, up to its end. `task_id` is known once the first event has come."""

    task_id: str | None = None

    async def task(self) -> Task:
        """Reads to the end of the task and returns it. Raises TaskFailed when it failed or was cancelled."""
        async for _ in self:
            pass
        if self.task_id is None:
            raise GatewayError("The stream was closed before the task was submitted.")
        found = await AsyncTasks(self._transport).get(self.task_id)
        if found.error is not None:
            raise TaskFailed(found.error.code, found.error.message)
        return found


@dataclass(frozen=True, slots=True)
class AsyncTasks:
    """The tasks of the key's tenant (scope `tasks`)."""

    transport: Transport

    async def submit(self, text: str, *, key: str | None = None, **fields: object) -> TaskReceipt:
        """Submits a task. `fields` are `target` (an agent; without it the gateway routes the task), `space_id`,
        `history`, `artifacts`, `files`, `stream`, `timeout` in seconds, `capabilities` and `task_id`."""
        return await self.transport.create("/v1/tasks", task_body(text, fields), TaskReceipt, key)

    def run(self, text: str, *, timeout: float | None = None, key: str | None = None, **fields: object) -> TaskStream:
        """Submits a task with the first `anext` and returns its live events, to its end; the first is
        `task.submitted`. `fields` are those of `submit`, but `timeout` limits the wait for each event:
        `task_timeout` is the task's own."""
        own = {"stream": True, **fields}
        if "task_timeout" in own:
            own["timeout"] = own.pop("task_timeout")
        body = task_body(text, own)

        def start() -> AsyncGenerator[Event, None]:
            return self._run(stream, body, key or uuid.uuid4().hex)

        stream = TaskStream(self.transport, "", start, Replies(), timeout)
        return stream

    def follow(self, task_id: str, *, timeout: float | None = None) -> TaskStream:
        """Follows a task that was submitted before, from now to its end; the first event is `task_status`."""

        def start() -> AsyncGenerator[Event, None]:
            return self._follow(task_id)

        stream = TaskStream(self.transport, "", start, Replies(), timeout)
        stream.task_id = task_id
        return stream

    def events(
        self, *, space_id: str | None = None, since: str | None = None, timeout: float | None = None
    ) -> EventStream:
        """Follows the live events of the tenant, or those of a space; it has no end of its own."""
        query = {} if space_id is None else {"spaceId": space_id}

        def start() -> AsyncGenerator[Event, None]:
            return live_follow(self.transport, query, since)

        return EventStream(self.transport, "", start, Replies(), timeout)

    async def get(self, task_id: str) -> Task:
        return await self.transport.get(_path(task_id), Task)

    async def list(
        self, *, status: str | None = None, agent: str | None = None, limit: int | None = None
    ) -> AsyncIterator[TaskSummary]:
        """Yields tasks, the newest first, page by page; at most `limit`."""
        query: dict[str, object] = {"status": status, "agent": agent, "limit": min(limit or PAGE, PAGE)}
        left = limit
        while True:
            response = await self.transport.exchange("GET", "/v1/tasks", query=query)
            for summary in decode(response.content, list[TaskSummary])[:left]:
                yield summary
                left = None if left is None else left - 1
            following = _next_cursor(response)
            if following is None or left == 0:
                return
            query["cursor"] = following

    async def cancel(self, task_id: str) -> None:
        """Cancels a task and stops what runs for it. Raises Conflict when it has ended."""
        await self.transport.send("POST", _path(task_id, "cancel"), {}, repeat=False)

    async def pipeline(
        self, steps: Sequence[tuple[str, str]], text: str, *, key: str | None = None, **options: object
    ) -> PipelineReceipt:
        """Submits a task per step, each with the result of the one before. `steps` are pairs of agent and prompt;
        `options` (`stream`, `timeout`, `capabilities`) apply to each."""
        wanted = [{"agentId": agent, **({"prompt": prompt} if prompt else {})} for agent, prompt in steps]
        body: dict[str, object] = {"steps": wanted, "input": text}
        if options:
            body["options"] = options
        return await self.transport.create("/v1/pipeline", body, PipelineReceipt, key)

    async def broadcast(self, type: str, data: object = None) -> BroadcastReceipt:
        """Sends an event of your own to the tenant's followers."""
        body = await self.transport.send("POST", "/v1/broadcast", {"type": type, "data": data}, repeat=False)
        return decode(body, BroadcastReceipt)

    async def _run(self, stream: TaskStream, body: Mapping[str, object], key: str) -> AsyncGenerator[Event, None]:
        async with aclosing(live_follow(self.transport, {})) as events:
            async for event in events:
                if event.type == "connected":
                    break
            receipt = await self.transport.create("/v1/tasks", body, TaskReceipt, key)
            stream.task_id = receipt.task_id
            async for event in _to_the_end(self, events, receipt.task_id):
                yield event

    async def _follow(self, task_id: str) -> AsyncGenerator[Event, None]:
        async with aclosing(live_follow(self.transport, {"taskId": task_id})) as events:
            async for event in _to_the_end(self, events, task_id):
                yield event


def task_body(text: str, fields: Mapping[str, object]) -> dict[str, object]:
    """Makes the AgentMessage of a task. Raises GatewayError for a field that tasks do not have."""
    given = {name: value for name, value in fields.items() if value is not None}
    names = {"shared_space_id": "space_id", "history": "history", "artifacts": "artifacts"}
    context = {wire: given.pop(name) for wire, name in names.items() if name in given}
    options = {name: given.pop(name) for name in ("stream", "timeout", "capabilities") if name in given}
    payload: dict[str, Any] = {"task": text}
    if "files" in given:
        payload["files"] = given.pop("files")
    body: dict[str, object] = {"type": "request", "payload": payload}
    top = {"id": "task_id", "target": "target", "source": "source", "correlation_id": "correlation_id"}
    body |= {wire: given.pop(name) for wire, name in top.items() if name in given}
    if given:
        raise GatewayError(f"A task has no field '{next(iter(given))}'.")
    payload |= {name: part for name, part in (("context", context), ("options", options)) if part}
    return body


def live_follow(transport: Transport, query: dict[str, str], since: str | None = None) -> AsyncGenerator[Event, None]:
    """Follows `/events`; the type of an event is in its data. After each reconnection there is another `connected`."""
    return sse_follow(transport, "/v1/events", query, since, lambda event: False, _live_event)


async def _to_the_end(
    tasks: AsyncTasks, events: AsyncGenerator[Event, None], task_id: str
) -> AsyncGenerator[Event, None]:
    """Yields what concerns the task. A stream that broke before its first position, or whose events are no longer kept,
    may have missed the end: then the task itself is asked for, and told as `task_status`."""
    has_position = False
    async for event in events:
        has_position = has_position or event.id != NO_POSITION
        if event.type == "connected" and has_position:
            continue
        if event.type in ("connected", "events_dropped"):
            task = await tasks.get(task_id)
            if task.has_ended:
                yield _status_event(task, event.id)
                return
        elif event.type == "task_status":
            yield event
            if event.data["task"]["status"] in ENDED:
                return
        elif event.data.get("task_id") == task_id:
            yield event
            if event.type in (COMPLETED, FAILED):
                return


def _status_event(task: Task, position: str) -> Event:
    shown = {camel_case(name): value for name, value in msgspec.to_builtins(task).items()}
    return Event("task_status", {"type": "task_status", "task": shown}, position)


def _live_event(_: str, data: str, position: str) -> Event:
    fields = msgspec.json.decode(data, type=dict[str, Any])
    return event_decode(str(fields.get("type", "")), fields, position)


def _next_cursor(response: Any) -> str | None:
    """Returns the cursor in the `Link` of a page, None on the last one."""
    following = response.links.get("next", {}).get("url", "")
    return next(iter(parse_qs(urlsplit(following).query).get("cursor", [])), None)


def _path(task_id: str, *rest: str) -> str:
    return "/v1/tasks/" + "/".join(quote(part, safe="") for part in (task_id, *rest))
