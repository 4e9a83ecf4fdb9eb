"""Calls from the gateway to the client of a connection, such as a tool that the client runs.

The read loop hands the client's reply to `settle` or `fail`. Every call ends: with its reply, at its time-out, or when
the connection closes. The number of calls under way is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core_app.errors import GatewayError, RateLimited, Unavailable
from edge_app.rpc.errors import MethodTimedOut

MAX_CALLS = 64


class PeerGone(Unavailable):
    """The connection closed before the client replied."""


class PeerCalls:
    """The calls of one connection that wait for the client's reply; belongs to its loop."""

    __slots__ = ("_closed", "_limit", "_waiting")

    def __init__(self, limit: int = MAX_CALLS) -> None:
        self._limit = limit
        self._waiting: dict[str, _Waiting] = {}
        self._closed = False

    async def call(self, call_id: str, send: Callable[[], None], seconds: float) -> Any:
        """Sends the call by `send` and returns the client's result.

        Raises the client's failure (`fail`), MethodTimedOut after `seconds`, PeerGone when the connection closes, and
        RateLimited when the limit is reached. A call whose id is under way is joined and not sent again.
        """
        if self._closed:
            raise PeerGone("The client is not connected.")
        waiting = self._waiting.get(call_id)
        if waiting is None:
            if len(self._waiting) >= self._limit:
                raise RateLimited(f"A connection may have {self._limit} calls to its client under way.")
            send()
            waiting = self._waiting[call_id] = _Waiting(asyncio.get_running_loop().create_future())
        waiting.callers += 1
        try:
            async with asyncio.timeout(seconds) as limit:
                return await asyncio.shield(waiting.future)
        except TimeoutError:
            if not limit.expired():
                raise
            raise MethodTimedOut(f"The client did not reply within {seconds:g} seconds.") from None
        finally:
            waiting.callers -= 1
            if waiting.callers == 0:
                self._forget(call_id, waiting)

    def settle(self, call_id: str, result: Any) -> bool:
        """Hands over the client's result; False when no call of that id waits."""
        waiting = self._waiting.pop(call_id, None)
        if waiting is None:
            return False
        waiting.future.set_result(result)
        return True

    def fail(self, call_id: str, error: GatewayError) -> bool:
        """Hands over the client's failure; False when no call of that id waits."""
        waiting = self._waiting.pop(call_id, None)
        if waiting is None:
            return False
        waiting.future.set_exception(error)
        return True

    def close(self) -> None:
        """Ends every call with PeerGone; later ones raise it at once."""
        self._closed = True
        waiting, self._waiting = self._waiting, {}
        for call in waiting.values():
            call.future.set_exception(PeerGone("The client disconnected before it replied."))

    def _forget(self, call_id: str, waiting: _Waiting) -> None:
        """Drops a call that nobody waits for any more; a later reply is then unknown."""
        if self._waiting.get(call_id) is waiting:
            del self._waiting[call_id]
        if waiting.future.done() and not waiting.future.cancelled():
            waiting.future.exception()  # read, so that asyncio does not report it


@dataclass(slots=True)
class _Waiting:
    """A call under way, and how many callers wait for it."""

    future: asyncio.Future[Any]
    callers: int = 0
