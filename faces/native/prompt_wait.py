"""`?wait=` of a prompt: the response has the run's outcome when the run ends in time.

The prompt is accepted by its viewset like every other. Only then the request waits, without a request thread, so that
waiting clients block nobody.
"""

from __future__ import annotations

import math
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest, GatewayError
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import Application, Headers, Message, Receive, Scope, Send
from edge_app.http.query import query_of
from edge_app.http.response import send_error, send_json
from sessions_app import wire
from sessions_app.models import Run
from sessions_app.services.run_wait import run_wait

MAX_WAIT_SECONDS = 60.0

_OUTCOME_FIELDS = ("status", "lastMessage", "tokenUsage", "costUsd", "costKnown", "endReason", "error")


class PromptWait:
    """ASGI application around Django's, for POST …/prompt."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            seconds = _wait_seconds(scope)
        except GatewayError as error:
            await send_error(send, error)
            return
        if not seconds:
            await self._application(scope, receive, send)
            return
        response = BufferedResponse()
        await self._application(scope, receive, response)
        run = None
        if response.status == 202:
            # Django's thread is free for other requests while this one waits.
            scope["gateway.release"]()
            run = await _wait(scope, response, seconds)
        if run is None:
            await response.send_to(send)
        else:
            await send_json(send, 200, jsontext.decode(response.body) | _outcome(run), response.replay_headers())


class BufferedResponse:
    """An ASGI `send` that keeps a response until it is known what the client gets."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        else:
            self.body += message.get("body", b"")

    def replay_headers(self) -> Headers:
        """Returns the header that marks the response to a repeated `Idempotency-Key`, where it is there."""
        return [item for item in self.headers if item[0].lower() == b"idempotent-replayed"]

    async def send_to(self, send: Send) -> None:
        """Sends the response unchanged."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


async def _wait(scope: Scope, response: BufferedResponse, seconds: float) -> Run | None:
    """Waits for the run; None when it goes on, or when the tenant has as many open streams as it may have."""
    try:
        with FOLLOWERS.track(scope["gateway.principal"]):
            return await run_wait(run_id=jsontext.decode(response.body)["requestId"], seconds=seconds)
    except GatewayError:
        return None


def _outcome(run: Run) -> dict[str, Any]:
    shape = wire.run_to_wire(run)
    return {name: shape[name] for name in _OUTCOME_FIELDS}


def _wait_seconds(scope: Scope) -> float:
    """Returns the seconds to wait, 0 without `?wait=`; raises BadRequest."""
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
