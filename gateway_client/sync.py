"""`Gateway`: the same as `AsyncGateway`, for programs without an event loop.

One thread runs the loop of each gateway. Callbacks run in threads of their own, so they may block and may use the
gateway themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from gateway_client.background import BackgroundLoop, Stream
from gateway_client.client import AsyncGateway
from gateway_client.gateway_state import Health, ModelInfo
from gateway_client.replies import OnApproval, OnQuestion
from gateway_client.results import (
    Message,
    Position,
    PromptReceipt,
    RunInfo,
    SessionInfo,
    Stats,
    Status,
    ToolInfo,
    UsageRow,
)
from gateway_client.sessions import AsyncSession, AsyncSessions, Tools, Via
from gateway_client.sync_mesh import Agents, Spaces, Tasks, Webhooks
from gateway_client.tools import Tool
from gateway_client.transport import Timeouts


class Session:
    """One session; the methods are those of `AsyncSession`."""

    def __init__(self, loop: BackgroundLoop, session: AsyncSession) -> None:
        self._loop = loop
        self._session = session

    @property
    def id(self) -> str:
        return self._session.id

    @property
    def info(self) -> SessionInfo:
        return self._session.info

    def refresh(self) -> SessionInfo:
        return self._loop.run(self._session.refresh())

    def change(self, **fields: object) -> SessionInfo:
        return self._loop.run(self._session.change(**fields))

    def delete(self, *, purge: bool = False) -> None:
        self._loop.run(self._session.delete(purge=purge))

    def fork(self, message_id: str, **fields: object) -> Session:
        return Session(self._loop, self._loop.run(self._session.fork(message_id, **fields)))

    def send(self, text: str, *, key: str | None = None, **fields: object) -> PromptReceipt:
        return self._loop.run(self._session.send(text, key=key, **fields))

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
    ) -> Stream:
        """Sends a prompt and returns the events of its run: see `AsyncSession.prompt`."""
        stream = self._session.prompt(
            text,
            on_approval=on_approval,
            on_question=on_question,
            tools=tools,
            timeout=timeout,
            via=via,
            key=key,
            **fields,
        )
        return Stream(self._loop, stream)

    def resume(
        self,
        request_id: str,
        *,
        since: Position | None = None,
        on_approval: OnApproval | None = None,
        on_question: OnQuestion | None = None,
        tools: Tools = (),
        timeout: float | None = None,
    ) -> Stream:
        stream = self._session.resume(
            request_id, since=since, on_approval=on_approval, on_question=on_question, tools=tools, timeout=timeout
        )
        return Stream(self._loop, stream)

    def events(
        self,
        since: Position = 0,
        *,
        on_approval: OnApproval | None = None,
        on_question: OnQuestion | None = None,
        tools: Tools = (),
        timeout: float | None = None,
        via: Via = "sse",
    ) -> Stream:
        stream = self._session.events(
            since, on_approval=on_approval, on_question=on_question, tools=tools, timeout=timeout, via=via
        )
        return Stream(self._loop, stream)

    def approve(
        self,
        approval_id: str,
        *,
        args: Mapping[str, Any] | None = None,
        comment: str | None = None,
        args_hash: str = "",
        remember: bool = False,
    ) -> None:
        approving = self._session.approve(
            approval_id, args=args, comment=comment, args_hash=args_hash, remember=remember
        )
        self._loop.run(approving)

    def reject(self, approval_id: str, *, reason: str | None = None) -> None:
        self._loop.run(self._session.reject(approval_id, reason=reason))

    def respond(self, ref: str, response: str) -> None:
        self._loop.run(self._session.respond(ref, response))

    def submit_result(self, call_id: str, result: Any = None, *, error: str | None = None) -> None:
        self._loop.run(self._session.submit_result(call_id, result, error=error))

    def abort(self, reason: str | None = None) -> None:
        self._loop.run(self._session.abort(reason))

    def abort_run(self, request_id: str) -> None:
        self._loop.run(self._session.abort_run(request_id))

    def steer(self, text: str) -> None:
        self._loop.run(self._session.steer(text))

    def switch_model(self, model: str) -> None:
        self._loop.run(self._session.switch_model(model))

    def status(self) -> Status:
        return self._loop.run(self._session.status())

    def stats(self) -> Stats:
        return self._loop.run(self._session.stats())

    def run(self, request_id: str) -> RunInfo:
        return self._loop.run(self._session.run(request_id))

    def runs(self) -> Iterator[RunInfo]:
        return self._loop.iterate(self._session.runs())

    def messages(self) -> Iterator[Message]:
        return self._loop.iterate(self._session.messages())

    def tools(self) -> Sequence[ToolInfo]:
        return self._loop.run(self._session.tools())

    def add_tool(self, added: Tool | Callable[..., Any]) -> ToolInfo:
        return self._loop.run(self._session.add_tool(added))

    def add_callback_tool(self, name: str, callback_url: str, **fields: object) -> ToolInfo:
        return self._loop.run(self._session.add_callback_tool(name, callback_url, **fields))

    def remove_tool(self, name: str) -> None:
        self._loop.run(self._session.remove_tool(name))


class Sessions:
    """The sessions of the key's tenant."""

    def __init__(self, loop: BackgroundLoop, sessions: AsyncSessions) -> None:
        self._loop = loop
        self._sessions = sessions

    def create(
        self, model: str | None = None, *, tools: Sequence[Any] = (), key: str | None = None, **fields: object
    ) -> Session:
        return Session(self._loop, self._loop.run(self._sessions.create(model, tools=tools, key=key, **fields)))

    def get(self, session_id: str, *, tools: Tools = ()) -> Session:
        return Session(self._loop, self._loop.run(self._sessions.get(session_id, tools=tools)))

    def list(self, **filters: object) -> Iterator[SessionInfo]:
        return self._loop.iterate(self._sessions.list(**filters))

    def delete(self, session_id: str, *, purge: bool = False) -> None:
        self._loop.run(self._sessions.delete(session_id, purge=purge))


class Gateway:
    """A gateway and a key. Use it with `with`, or call `close`."""

    def __init__(self, base_url: str, api_key: str, *, timeouts: Timeouts | None = None) -> None:
        self._gateway = AsyncGateway(base_url, api_key, timeouts=timeouts)
        self._loop = BackgroundLoop()
        self.sessions = Sessions(self._loop, self._gateway.sessions)
        self.tasks = Tasks(self._loop, self._gateway.tasks)
        self.spaces = Spaces(self._loop, self._gateway.spaces)
        self.agents = Agents(self._loop, self._gateway.agents)
        self.webhooks = Webhooks(self._loop, self._gateway.webhooks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections and ends the thread."""
        if not self._loop.closed:
            self._loop.run(self._gateway.aclose())
            self._loop.close()

    def group_events(self, group_id: str, since: Position | None = None, *, timeout: float | None = None) -> Stream:
        return Stream(self._loop, self._gateway.group_events(group_id, since, timeout=timeout))

    def usage(
        self,
        *,
        start: str | None = None,
        end: str | None = None,
        group_by: str | None = None,
        end_user: str | None = None,
    ) -> Sequence[UsageRow]:
        return self._loop.run(self._gateway.usage(start=start, end=end, group_by=group_by, end_user=end_user))

    def health(self) -> Health:
        return self._loop.run(self._gateway.health())

    def models(self) -> Sequence[ModelInfo]:
        return self._loop.run(self._gateway.models())

    def quota(self) -> dict[str, Any]:
        return self._loop.run(self._gateway.quota())
