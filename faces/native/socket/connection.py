"""One open socket: it reads frames, follows the session, and has one writer.

Whichever of the three ends first says with which code. Actions that are under way then are finished and answered
before the close; a client that has gone cancels none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from django.conf import settings

from core_app import database
from core_app.errors import BadRequest, Forbidden, GatewayError, RateLimited, Unauthorized, Unavailable
from core_app.tracing import span
from edge_app.gate.body import ClientGone
from edge_app.http.asgi import Receive, Send
from edge_app.http.errors import internal_error
from edge_app.rest.errors import as_gateway_error
from edge_app.sockets.close_codes import REASONS, CloseCode
from edge_app.sockets.order import AnswersFirst
from edge_app.sockets.outbox import Outbox
from events_app.follower import Follower, FollowerReleased, FollowerSlow
from events_app.types import SessionClosed
from faces.native.socket.actions import ACTIONS, action_perform
from faces.native.socket.frames import Frame, FrameRefused, answer, dropped_frame, frame_bytes, frame_read, refusal
from tenants_app.authentication import aprincipal_recheck
from tenants_app.limits import RATE_LIMITS
from tenants_app.principal import SESSIONS, Principal

MAX_IN_FLIGHT = 16
"""Actions of one socket at the same time; the next one is answered `rate_limited`."""


class Connection:
    """An accepted socket of one session. `read_only` sockets (stream tokens) may ping and nothing else."""

    def __init__(
        self,
        *,
        session_id: str,
        principal: Principal,
        read_only: bool,
        follower: Follower,
        receive: Receive,
        send: Send,
    ) -> None:
        self._session_id = session_id
        self._principal = principal
        self._read_only = read_only
        self._follower = follower
        self._receive = receive
        self._send = send
        self._outbox = Outbox(send, self._writing_failed)
        self._order = AnswersFirst()
        self._actions: set[asyncio.Task[None]] = set()
        self._due = asyncio.get_running_loop().time() + settings.GATEWAY_HEARTBEAT_SECONDS
        self._open = asyncio.timeout(None)
        self._code: CloseCode | None = None
        self._ended = False

    async def run(self, first: Sequence[str] = ()) -> None:
        """Serves the socket to its end; `first` is what the client is told before any event."""
        self._outbox.put_events(first)
        following = asyncio.create_task(self._until_it_ends(self._follow))
        try:
            with contextlib.suppress(TimeoutError):
                async with self._open:
                    await self._until_it_ends(self._read)
            following.cancel()
            await asyncio.wait([following])
            await self._answered(self._code)
            self._outbox.cancel()
            await self._outbox.emptied()
            if self._code is not None:
                await self._close(self._code)
        finally:
            following.cancel()
            self._outbox.cancel()

    async def _until_it_ends(self, work: Callable[[], Awaitable[CloseCode | None]]) -> None:
        try:
            self._end(await work())
        except Exception as cause:  # the boundary of this wire: the socket ends, the log has the traceback
            away = isinstance(internal_error(cause), Unavailable)
            self._end(CloseCode.RESTART if away else CloseCode.FAILED)

    def _end(self, code: CloseCode | None) -> None:
        """Ends the socket; None: the client has gone. The first reason is the one that counts."""
        if not self._ended:
            self._code, self._ended = code, True
            # Reading is what the socket's own task does; this is how the others interrupt it.
            self._open.reschedule(asyncio.get_running_loop().time())

    def _writing_failed(self, error: Exception) -> None:
        if isinstance(error, ClientGone):
            self._end(None)
        elif isinstance(error, TimeoutError):
            self._end(CloseCode.SLOW_CONSUMER)
        else:
            internal_error(error)
            self._end(CloseCode.FAILED)

    async def _answered(self, code: CloseCode | None) -> None:
        """Lets actions finish, and what is in the outbox leave, where somebody still reads."""
        if self._actions:
            await asyncio.wait(self._actions)
        if code not in (None, CloseCode.SLOW_CONSUMER):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                    await self._outbox.emptied()

    async def _close(self, code: CloseCode) -> None:
        """A client that takes nothing is not waited for: the server cuts the connection."""
        with contextlib.suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                await self._send({"type": "websocket.close", "code": int(code), "reason": REASONS[code]})

    # -- out -----------------------------------------------------------------------------------------

    async def _follow(self) -> CloseCode | None:
        try:
            while await self._step():
                pass
        except FollowerReleased:
            return CloseCode.RESTART
        except FollowerSlow:
            return CloseCode.SLOW_CONSUMER
        except GatewayError:
            return CloseCode.UNAUTHORIZED
        return CloseCode.SESSION_CLOSED

    async def _step(self) -> bool:
        """Shows what comes next, and looks at the key at every heartbeat, on busy sessions too; False at the end."""
        now = asyncio.get_running_loop().time()
        if now >= self._due:
            self._due = now + settings.GATEWAY_HEARTBEAT_SECONDS
            await self._recheck()
        before = self._follower.position
        events = await self._follower.next(self._due - now)
        if not events:
            return True
        await self._outbox.emptied()
        frames = [event.socket_frame for event in events]
        if events[0].offset > before + 1:
            kept = events[0].offset - 1
            frames.insert(0, dropped_frame(kept, {"from": before + 1, "to": kept}))
        await self._order.announcing()
        self._outbox.put_events(frames)
        return all(event.type != SessionClosed.type for event in events)

    async def _recheck(self) -> Principal:
        self._principal = await aprincipal_recheck(self._principal)
        self._principal.require(SESSIONS)
        return self._principal

    # -- in ------------------------------------------------------------------------------------------

    async def _read(self) -> CloseCode | None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return None
            raw = frame_bytes(message)
            if raw is None:
                return CloseCode.PROTOCOL_VIOLATION
            try:
                self._take(await frame_read(raw))
            except FrameRefused as refused:
                self._outbox.put_answer(refused.answer)
            if self._outbox.crowded:
                await self._outbox.emptied()

    def _take(self, frame: Frame) -> None:
        """Begins an action, or answers at once."""
        if frame.action == "ping":
            self._outbox.put_answer(answer(frame, {}))
        elif (error := self._objection(frame)) is not None:
            self._outbox.put_answer(refusal(frame.action, error, frame.ref))
        else:
            task = asyncio.create_task(self._act(frame))
            self._actions.add(task)
            task.add_done_callback(self._actions.discard)

    def _objection(self, frame: Frame) -> GatewayError | None:
        if frame.action not in ACTIONS:
            return BadRequest(f"There is no action {frame.action[:64]!r}.", field="action")
        if self._read_only:
            return Forbidden("This socket was opened with a stream token, which may only read.")
        if len(self._actions) >= MAX_IN_FLIGHT:
            return RateLimited(f"A socket may have {MAX_IN_FLIGHT} actions under way; wait for an answer.")
        return None

    async def _act(self, frame: Frame) -> None:
        try:
            principal = await self._recheck()
            if ACTIONS[frame.action].counted and (limit := await RATE_LIMITS.take(principal)) is not None:
                limit.enforce()
            await self._perform(principal, frame)
        except Exception as cause:  # the boundary of this wire: every action gets its answer
            self._outbox.put_answer(refusal(frame.action, as_gateway_error(cause), frame.ref))
            if isinstance(cause, Unauthorized):
                self._end(CloseCode.UNAUTHORIZED)

    async def _perform(self, principal: Principal, frame: Frame) -> None:
        attributes = {"gen_ai.conversation.id": self._session_id, "gateway.action": frame.action}
        with span(f"socket {frame.action}", attributes, kind="server"):
            await self._answer(principal, frame)

    async def _answer(self, principal: Principal, frame: Frame) -> None:
        async with self._order.acting():
            result = await database.run(action_perform, principal=principal, session_id=self._session_id, frame=frame)
            self._outbox.put_answer(answer(frame, result))
