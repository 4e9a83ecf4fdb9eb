"""The tool calls that one socket is offered.

A call that waits for a client is offered to the newest socket of its session, once. When that socket goes, the next
newest is offered the calls that still wait, and so is a socket that connects again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from agents_app.events import MessageDelta
from core_app import database, jsontext
from core_app.timeouts import cancel_tasks
from edge_app.http.errors import internal_error
from events_app.batches import StoredEvent
from faces.codelab.clients import CLIENTS, RECHECK_SECONDS
from faces.codelab.errors import TOOL_TIMEOUT
from faces.codelab.frames import encode_error
from tools_app.events import ApprovalRequired, ToolCallRequested, ToolExecutionEnd
from tools_app.models import ToolCall
from tools_app.outside_calls import calls_waiting, shown_id
from tools_app.states import CallState

_OPENING = frozenset({ToolCallRequested.type, ApprovalRequired.type})


class Offers:
    """The offers of one socket, whose name is `name`. `offer` checks the socket's key and sends a call."""

    def __init__(self, stream_id: int, name: str, offer: Callable[[ToolCall], Awaitable[None]]) -> None:
        self._stream_id = stream_id
        self._name = name
        self._send = offer
        self._waiting: set[str] = set()
        self._offered: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begins to offer, with what waits already. The socket is entered in CLIENTS."""
        CLIENTS.listen(self._stream_id, self._wake_waiting)
        self._wake()

    async def close(self) -> None:
        """Offers nothing more."""
        CLIENTS.unlisten(self._stream_id, self._wake_waiting)
        if self._task is not None:
            await cancel_tasks(self._task)

    def note(self, event: StoredEvent) -> Sequence[str]:
        """Takes an event of the session; returns the frames that tell of the end of a call that was offered here."""
        if event.type == MessageDelta.type:
            return ()
        if event.type in _OPENING:
            self._waiting.add(jsontext.decode(event.data)["callId"])
            self._wake()
        elif event.type == ToolExecutionEnd.type:
            return self._end(jsontext.decode(event.data), event.position.wire)
        return ()

    def _end(self, data: Any, offset: int | str) -> Sequence[str]:
        self._waiting.discard(data["callId"])
        shown = self._offered.pop(data["callId"], None)
        if shown is None or data["status"] != "timeout":
            return ()
        text = f"Timeout waiting for tool_result (call_id={shown})"
        return [encode_error(text, TOOL_TIMEOUT, call_id=shown, offset=offset)]

    def _wake_waiting(self) -> None:
        if self._waiting - self._offered.keys():
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="codelab-offers")

    async def _run(self) -> None:
        """Runs only while calls wait that were not offered here, so that an idle socket has no task for them."""
        try:
            while True:
                self._changed.clear()
                await self._offer()
                if not self._waiting - self._offered.keys() and not self._changed.is_set():
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK_SECONDS):
                        await self._changed.wait()
        except Exception as cause:  # contains: the socket lives on, and the next change looks again
            internal_error(cause)

    async def _offer(self) -> None:
        if await CLIENTS.newest(self._stream_id) != self._name:
            return
        calls = await database.run(calls_waiting, self._stream_id)
        self._waiting = {call.id for call in calls}
        for call in calls:
            if call.id not in self._offered:
                self._offered[call.id] = shown_id(call)
                await self._send(call)


def describe(call: ToolCall, offset: int | str) -> dict[str, Any]:
    """Returns the `tool_call` frame of a call that waits."""
    return {
        "type": "tool_call",
        "call_id": shown_id(call),
        "tool_name": call.tool_name,
        "arguments": call.effective_args,
        "requires_approval": call.state == CallState.AWAITING_APPROVAL,
        "offset": offset,
    }
