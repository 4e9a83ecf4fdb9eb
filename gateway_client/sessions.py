"""A session as the caller holds it, and the collection of sessions of a gateway."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from gateway_client.event_stream import EventStream
from gateway_client.events import Event, SessionClosed, camel_case
from gateway_client.replies import Decision, OnApproval, OnQuestion, Replies, decision_send
from gateway_client.results import (
    Message,
    MessagePage,
    Position,
    PromptReceipt,
    Result,
    RunInfo,
    RunPage,
    SessionInfo,
    SessionPage,
    Stats,
    Status,
    ToolInfo,
)
from gateway_client.streams import EndsWith, session_path, sse_follow
from gateway_client.tools import Tool, tools_by_name
from gateway_client.transport import Transport, decode

T = TypeVar("T")
Tools = Iterable[Tool | Callable[..., Any]]
Via = Literal["sse", "websocket"]
PAGE = 200


class _ToolPage(Result, frozen=True):
    tools: list[ToolInfo]


class AsyncSession:
    """One session. `info` is what the gateway said last about it: `refresh` asks again."""

    def __init__(self, transport: Transport, info: SessionInfo, tools: Mapping[str, Tool] | None = None) -> None:
        self._transport = transport
        self._tools = dict(tools or {})
        self.info = info

    @property
    def id(self) -> str:
        return self.info.session_id

    async def refresh(self) -> SessionInfo:
        self.info = await self._transport.get(session_path(self.id), SessionInfo)
        return self.info

    async def change(self, **fields: object) -> SessionInfo:
        """Changes fields: `system_prompt`, `user_data`, `group_id`, `title`, `tools`, `outage_policy`."""
        body = await self._transport.send("PATCH", session_path(self.id), _wire(fields))
        self.info = decode(body, SessionInfo)
        return self.info

    async def delete(self, *, purge: bool = False) -> None:
        """Closes the session; with `purge` (scope `admin`) erases it."""
        await self._transport.send("DELETE", session_path(self.id), query={"purge": purge or None})

    async def fork(self, message_id: str, **fields: object) -> AsyncSession:
        """Creates a session with the history up to `message_id`; `session_id` and `title` are optional."""
        body = _wire({"message_id": message_id, **fields})
        return AsyncSession(self._transport, await self._post(body, "fork", kind=SessionInfo), self._tools)

    async def send(self, text: str, *, key: str | None = None, **fields: object) -> PromptReceipt:
        """Sends a prompt without following it: `resume` follows it later. `fields` are `attachments`, `metadata`,
        `when_busy` and `end_user`; `key` is an `Idempotency-Key` that outlives this process."""
        return await self._post(_wire({"text": text, **fields}), "prompt", kind=PromptReceipt, key=key)

    def prompt(
        self,
        text: str,
        *,
        on_approval: OnApproval | None = None,
        on_question: OnQuestion | None = None,
        tools: Tools = (),
        timeout: float | None = None,
        via: Via = "sse",
        key: str | None = None,
        **fields: object,
    ) -> EventStream:
        """Sends a prompt and returns the events of its run, to its end. The prompt is sent with the first `anext`, once
        however often the connection breaks; `fields` and `key` are those of `send`, `timeout` limits the wait for each
        event."""
        replies = Replies(on_approval=on_approval, on_question=on_question, tools=tools_by_name(tools))
        start = partial(self._prompt, text, key or uuid.uuid4().hex, fields, replies, via)
        shown = Replies(on_approval=on_approval, on_question=on_question, tools=self._tools | dict(replies.tools))
        return EventStream(self._transport, self.id, start, shown, timeout)

    def resume(
        self,
        request_id: str,
        *,
        since: Position | None = None,
        on_approval: OnApproval | None = None,
        on_question: OnQuestion | None = None,
        tools: Tools = (),
        timeout: float | None = None,
    ) -> EventStream:
        """Follows a run that was sent before, from its first event or after `since`, also from another process."""
        replies = Replies(on_approval=on_approval, on_question=on_question, tools=self._tools | tools_by_name(tools))
        start = partial(self._follow_run, request_id, None if since is None else str(since))
        return EventStream(self._transport, self.id, start, replies, timeout)

    def events(
        self,
        since: Position = 0,
        *,
        on_approval: OnApproval | None = None,
        on_question: OnQuestion | None = None,
        tools: Tools = (),
        timeout: float | None = None,
        via: Via = "sse",
    ) -> EventStream:
        """Follows the session after `since` (0: from its first event) until it is closed."""
        replies = Replies(on_approval=on_approval, on_question=on_question, tools=self._tools | tools_by_name(tools))
        start = partial(self._follow, str(since), via)
        return EventStream(self._transport, self.id, start, replies, timeout)

    async def approve(
        self,
        approval_id: str,
        *,
        args: Mapping[str, Any] | None = None,
        comment: str | None = None,
        args_hash: str = "",
        remember: bool = False,
    ) -> None:
        decision = Decision(approve=True, args=args, comment=comment, remember=remember)
        await decision_send(self._transport, self.id, approval_id, decision, args_hash)

    async def reject(self, approval_id: str, *, reason: str | None = None) -> None:
        await decision_send(self._transport, self.id, approval_id, Decision(approve=False, reason=reason), "")

    async def respond(self, ref: str, response: str) -> None:
        await self._send({"ref": ref, "response": response}, "respond")

    async def submit_result(self, call_id: str, result: Any = None, *, error: str | None = None) -> None:
        """Posts the result of a tool that the client runs. The same result again changes nothing."""
        outcome = {"result": result} if error is None else {"error": error}
        await self._send({"callId": call_id, **outcome}, "tool-results")

    async def abort(self, reason: str | None = None) -> None:
        """Aborts the current run. Raises Conflict when there is none."""
        await self._send({} if reason is None else {"reason": reason}, "abort", repeat=False)

    async def abort_run(self, request_id: str) -> None:
        """Aborts or withdraws one run."""
        await self._send({}, "runs", request_id, "abort", repeat=False)

    async def steer(self, text: str) -> None:
        """Adds a text to the current run. Raises Conflict when there is none."""
        await self._send({"text": text}, "steer", repeat=False)

    async def switch_model(self, model: str) -> None:
        await self._send({"model": model}, "switch_model")

    async def status(self) -> Status:
        return await self._transport.get(session_path(self.id, "status"), Status)

    async def stats(self) -> Stats:
        return await self._transport.get(session_path(self.id, "stats"), Stats)

    async def run(self, request_id: str) -> RunInfo:
        return await self._transport.get(session_path(self.id, "runs", request_id), RunInfo)

    async def runs(self) -> AsyncIterator[RunInfo]:
        """Yields all runs, page by page."""
        cursor: str | None = None
        while True:
            page = await self._transport.get(session_path(self.id, "runs"), RunPage, cursor=cursor, limit=PAGE)
            for run in page.runs:
                yield run
            cursor = page.next_cursor
            if cursor is None:
                return

    async def messages(self) -> AsyncIterator[Message]:
        """Yields all messages, page by page."""
        cursor: Position | None = None
        while True:
            path = session_path(self.id, "messages")
            page = await self._transport.get(path, MessagePage, cursor=cursor, limit=PAGE)
            for message in page.messages:
                yield message
            cursor = page.next_cursor
            if cursor is None:
                return

    async def tools(self) -> Sequence[ToolInfo]:
        return (await self._transport.get(session_path(self.id, "tools"), _ToolPage)).tools

    async def add_tool(self, added: Tool | Callable[..., Any]) -> ToolInfo:
        """Registers a tool that this client runs, for all its streams of the session."""
        ((name, made),) = tools_by_name([added]).items()
        info = await self._post(made.registration(), "tools", kind=ToolInfo)
        self._tools[name] = made
        return info

    async def add_callback_tool(self, name: str, callback_url: str, **fields: object) -> ToolInfo:
        """Registers a tool at an address; `fields` are those of the registration in snake_case."""
        body = {"name": name, "callbackUrl": callback_url, **_wire(fields)}
        return await self._post(body, "tools", kind=ToolInfo)

    async def remove_tool(self, name: str) -> None:
        await self._transport.send("DELETE", session_path(self.id, "tools", name))
        self._tools.pop(name, None)

    async def _post(self, body: Mapping[str, object], *rest: str, kind: type[T], key: str | None = None) -> T:
        return await self._transport.create(session_path(self.id, *rest), body, kind, key)

    async def _send(self, body: Mapping[str, object], *rest: str, repeat: bool = True) -> None:
        await self._transport.send("POST", session_path(self.id, *rest), body, repeat=repeat)

    async def _prompt(
        self, text: str, key: str, fields: Mapping[str, object], replies: Replies, via: Via
    ) -> AsyncGenerator[Event, None]:
        known = {each.name for each in await self.tools()} if replies.tools else set()
        for name, each in replies.tools.items():
            if name not in known or name not in self._tools:
                await self.add_tool(each)
        since = str((await self.status()).last_event_index) if via == "websocket" else ""
        receipt = await self.send(text, key=key, **fields)
        if via == "sse":
            events = self._follow_run(receipt.request_id, None)
        else:
            events = self._run_on_socket(receipt.request_id, since)
        async for event in events:
            yield event

    def _follow_run(self, request_id: str, since: str | None) -> AsyncGenerator[Event, None]:
        query = {"requestId": request_id}
        return sse_follow(self._transport, session_path(self.id, "events"), query, since, _RunEnd(request_id))

    async def _run_on_socket(self, request_id: str, since: str) -> AsyncGenerator[Event, None]:
        ends = _RunEnd(request_id)
        async for event in self._socket(since, ends):
            if event.request_id == request_id or event.type in ("events_dropped", SessionClosed.kind):
                yield event

    def _socket(self, since: str, ends_with: EndsWith) -> AsyncGenerator[Event, None]:
        from gateway_client.socket_stream import socket_follow  # noqa: PLC0415  (slow to import)

        return socket_follow(self._transport, self.id, since, ends_with)

    def _follow(self, since: str, via: Via) -> AsyncGenerator[Event, None]:
        if via == "websocket":
            return self._socket(since, _is_closed)
        query = {"follow": "session"}
        return sse_follow(self._transport, session_path(self.id, "events"), query, since, _is_closed)


@dataclass(frozen=True, slots=True)
class _RunEnd:
    """The end of the stream of one run."""

    request_id: str

    def __call__(self, event: Event) -> bool:
        return _is_closed(event) or (event.is_terminal and event.request_id == self.request_id)


def _is_closed(event: Event) -> bool:
    return event.type == SessionClosed.kind


@dataclass(frozen=True, slots=True)
class AsyncSessions:
    """The sessions of the key's tenant."""

    transport: Transport
    tools: Mapping[str, Tool] = field(default_factory=dict)

    async def create(
        self, model: str | None = None, *, tools: Sequence[Any] = (), key: str | None = None, **fields: object
    ) -> AsyncSession:
        """Creates a session. `tools` are functions that this client runs, names of built-in tools, or registrations;
        `fields` are those of the protocol in snake_case (`agent`, `session_id`, `system_prompt`, `group_id` …)."""
        own = tools_by_name(each for each in tools if isinstance(each, Tool) or callable(each))
        others = [each for each in tools if not (isinstance(each, Tool) or callable(each))]
        body = _wire({"model": model, **fields})
        if listed := [*others, *(each.registration() for each in own.values())]:
            body["tools"] = listed
        info = await self.transport.create("/v1/sessions", body, SessionInfo, key)
        return AsyncSession(self.transport, info, own)

    async def get(self, session_id: str, *, tools: Tools = ()) -> AsyncSession:
        """Returns a session that exists; `tools` are those of its tools that this client runs."""
        info = await self.transport.get(session_path(session_id), SessionInfo)
        return AsyncSession(self.transport, info, tools_by_name(tools))

    async def list(self, **filters: object) -> AsyncIterator[SessionInfo]:
        """Yields sessions, newest first. Filters: `state`, `agent`, `group_id`, `since`."""
        cursor: str | None = None
        while True:
            query = {**_wire(filters), "cursor": cursor, "limit": PAGE}
            page = await self.transport.get("/v1/sessions", SessionPage, **query)
            for info in page.sessions:
                yield info
            cursor = page.next_cursor
            if cursor is None:
                return

    async def delete(self, session_id: str, *, purge: bool = False) -> None:
        await self.transport.send("DELETE", session_path(session_id), query={"purge": purge or None})


def _wire(fields: Mapping[str, object]) -> dict[str, object]:
    return {camel_case(name): value for name, value in fields.items() if value is not None}
