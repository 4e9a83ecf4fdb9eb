"""An event stream with replies: what `prompt`, `resume` and `events` of a session return.

`async for event in stream` yields the log as it is. Callbacks run beside it; an error that one raises ends the stream
with this error. Waiting for the next event may be cancelled without losing it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Self

import msgspec

from gateway_client.errors import GatewayError, RunAborted, WaitTimeout
from gateway_client.events import AgentAbort, AgentEnd, Event
from gateway_client.replies import Replies
from gateway_client.results import RunResult, TokenUsage
from gateway_client.transport import Transport

Open = Callable[[], AsyncGenerator[Event, None]]


class EventStream:
    """The events of a run or of a session. It is opened by the first `anext` and closed by its end, by `aclose`, or
    by `async with`. `timeout` limits the wait for each event."""

    def __init__(
        self, transport: Transport, session_id: str, events: Open, replies: Replies, timeout: float | None = None
    ) -> None:
        self._transport = transport
        self._session_id = session_id
        self._open = events
        self._events: AsyncGenerator[Event, None] | None = None
        self._replies = replies
        self._timeout = timeout
        self._next: asyncio.Task[Event | None] | None = None
        self._working: set[asyncio.Future[None]] = set()
        self._finished = False
        self.position: str | None = None
        """The id of the last event; what `resume` and `events` take to go on after it."""
        self.last: Event | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._finished:
            raise StopAsyncIteration
        try:
            event = await self._next_event()
        except (asyncio.CancelledError, WaitTimeout):
            raise  # the next call goes on waiting for the same event
        except BaseException:
            await self.aclose()
            raise
        if event is None:
            await self._settle()
            await self.aclose()
            raise StopAsyncIteration
        self.position, self.last = event.id, event
        reply = self._replies.reply_to(self._transport, self._session_id, event)
        if reply is not None:
            self._working.add(asyncio.ensure_future(reply))
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends the connection and the callbacks that still run. The run itself goes on."""
        self._finished = True
        tasks: list[asyncio.Future[Any]] = [*self._working]
        if self._next is not None:
            tasks.append(self._next)
        self._working, self._next = set(), None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._events is not None:
            await self._events.aclose()

    async def result(self) -> RunResult:
        """Reads to the end of the run and returns its answer. Raises RunAborted when it ended without one."""
        async for _ in self:
            pass
        if isinstance(self.last, AgentAbort):
            raise RunAborted(self.last.reason, self.last.message)
        if not isinstance(self.last, AgentEnd):
            raise GatewayError("The stream ended without the end of the run: its events are no longer kept.")
        end = self.last
        return RunResult(
            request_id=str(end.request_id),
            text=end.last_message["content"],
            token_usage=msgspec.convert(end.token_usage, TokenUsage),
            cost_usd=end.cost_usd,
            cost_known=end.cost_known,
            duration_ms=end.duration_ms,
        )

    async def _next_event(self) -> Event | None:
        if self._events is None:
            self._events = self._open()
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    if self._next is None:
                        self._next = asyncio.create_task(_read(self._events))
                    waited: set[asyncio.Future[Any]] = {self._next, *self._working}
                    done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                    self._check_replies()
                    if self._next in done:
                        task, self._next = self._next, None
                        return task.result()
        except TimeoutError as error:
            raise WaitTimeout(f"No event within {self._timeout} s.") from error

    def _check_replies(self) -> None:
        for task in [task for task in self._working if task.done()]:
            self._working.discard(task)
            task.result()

    async def _settle(self) -> None:
        """Waits for the replies that still run; after the end of the run they have nothing to wait for."""
        if self._working:
            await asyncio.wait(self._working, timeout=self._transport.timeouts.request)
            self._check_replies()


async def _read(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)
