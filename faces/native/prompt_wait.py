"""`?wait=` of a prompt: the answer of the run itself, when it ends in time (native contract, "Endpoints").

The prompt is accepted by its view as every other; only then the request waits, as a follower of the session's log
and without a request thread, so that waiting clients hold nobody up.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from core_app import database, jsontext
from core_app.errors import BadRequest, GatewayError
from edge_app.followers import FOLLOWERS
from edge_app.sse.consumer import answer, query_of, refuse
from edge_app.sse.writer import Receive, Send
from events_app.follower import FollowEnded, Follower
from sessions_app import wire
from sessions_app.events import TERMINAL_TYPES
from sessions_app.models import Run

MAX_WAIT_SECONDS = 60.0


class PromptWait:
    """An ASGI application around the one that answers POST …/prompt."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            seconds = _seconds(scope)
        except GatewayError as error:
            await refuse(send, error)
            return
        if not seconds:
            await self._application(scope, receive, send)
            return
        kept = _Kept()
        await self._application(scope, receive, kept)
        if kept.status == 202:
            scope["gateway.release"]()
            await self._wait(scope, kept, seconds, send)
        else:
            await kept.pass_on(send)

    async def _wait(self, scope: dict[str, Any], kept: _Kept, seconds: float, send: Send) -> None:
        receipt = jsontext.decode(kept.body)
        try:
            with FOLLOWERS.counted(scope["gateway.principal"]):
                ended = await run_ended(receipt["requestId"], seconds)
        except GatewayError:
            ended = None
        if ended is None:
            await kept.pass_on(send)
        else:
            replayed = [item for item in kept.headers if item[0].lower() == b"idempotent-replayed"]
            await answer(send, 200, receipt | ended, replayed)


class _Kept:
    """An answer that is looked at before it goes out."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        else:
            self.body += message.get("body", b"")

    async def pass_on(self, send: Send) -> None:
        """Sends it as it was."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


async def run_ended(run_id: str, seconds: float) -> dict[str, Any] | None:
    """How the run ended, when it does within `seconds`; None when it goes on, or is erased meanwhile."""
    place = await database.run(_place, run_id)
    if place is None:
        return None
    try:
        async with asyncio.timeout(seconds), Follower(place[0], after=place[1]) as follower:
            while True:
                for event in await follower.next():
                    if event.type in TERMINAL_TYPES and event.run_id == run_id:
                        return await database.run(_outcome, run_id)
    except (TimeoutError, FollowEnded):
        return None


def _place(run_id: str) -> tuple[int, int] | None:
    return Run.objects.filter(pk=run_id).values_list("session__stream_id", "first_offset").first()


def _outcome(run_id: str) -> dict[str, Any] | None:
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        return None
    shown = wire.run_to_wire(run)
    names = ("status", "lastMessage", "tokenUsage", "costUsd", "costKnown", "endReason", "error")
    return {name: shown[name] for name in names}


def _seconds(scope: dict[str, Any]) -> float:
    text = query_of(scope).get("wait")
    if text is None or scope["method"] != "POST":
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds <= MAX_WAIT_SECONDS:
        raise BadRequest(f"'wait' is a number of seconds from 0 to {MAX_WAIT_SECONDS:g}.", field="wait")
    return seconds
