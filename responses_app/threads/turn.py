"""One request of a thread while it runs: its claim, its answer on the way to the client, and what is stored at its end.

The answer is stored before the client is told that it has ended, so a client that has it can continue it. Of a request
that failed, or whose client left, nothing is stored, and its thread may be continued from the same answer again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import structlog

from core_app import database
from core_app.header_pairs import HeaderPairs
from core_app.ids import new_id
from inference_app.conversion import exact_json
from inference_app.conversion.sse import DONE, EventParser, typed_event
from inference_app.relay import Envelope
from inference_app.relay.large_bodies import run_for_size
from responses_app.recording import RecordedAnswer, Relayed
from responses_app.threads.assembly import Json, MessageAssembly
from responses_app.threads.preparation import messages_prepare
from responses_app.threads.request import ThreadRequest
from responses_app.threads.services import (
    CLAIM_SECONDS,
    Continued,
    thread_continue,
    thread_release,
    thread_renew,
    turn_store,
)
from tenants_app.principal import Principal

RENEWALS = 3
"""Renewals of a claim before it would run out."""

logger = structlog.get_logger("gateway.responses")


class Turn:
    """One request, to be entered with `async with`, which may raise what `thread_continue` does. `request` None: there
    is no thread, and nothing is stored."""

    def __init__(self, principal: Principal, request: ThreadRequest | None) -> None:
        self._principal = principal
        self._request = request
        self._continued: Continued | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stored = False
        self._message_id = new_id("msg")

    async def __aenter__(self) -> Turn:
        request = self._request
        if request is not None and request.previous_id is not None:
            self._continued = await database.run(thread_continue, principal=self._principal, request=request)
            self._keeper = asyncio.create_task(_keep(self._continued))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        if self._continued is not None and not self._stored:
            await database.run(thread_release, self._continued)

    async def prepare(self, envelope: Envelope) -> Envelope:
        """Returns the request with the whole conversation, for any provider."""
        history = () if self._continued is None else self._continued.history
        size = envelope.size + sum(map(len, history))
        return await run_for_size(size, messages_prepare, envelope, self._request, self._continued)

    async def answer(self, relayed: Relayed) -> RecordedAnswer:
        """Stores the complete answer and returns it as the client gets it."""
        message = exact_json.decode_answer(relayed.first)
        return RecordedAnswer(relayed.headers, exact_json.encode(await self.keep(message)))

    async def keep(self, message: Json) -> Json:
        """Stores an answer and returns it with its id."""
        message = {**message, "id": self._message_id}
        await self.store(message)
        return message

    def stream(self, relayed: Relayed) -> TurnStream:
        """Returns the stream as the client gets it."""
        return TurnStream(relayed, self)

    def start(self, event: Json) -> Json:
        """Returns the first event of a stream with the answer's id."""
        return {**event, "message": {**event["message"], "id": self._message_id}}

    async def store(self, message: Mapping[str, Any]) -> None:
        """Stores an answer that has its id."""
        if self._request is None:
            return
        await database.run(
            turn_store, principal=self._principal, request=self._request, continued=self._continued, message=message
        )
        self._stored = True


class TurnStream:
    """The stream of a turn, as an exchange sends it."""

    status = 200
    first = b""

    def __init__(self, relayed: Relayed, turn: Turn) -> None:
        self._relayed = relayed
        self._turn = turn
        self._parser = EventParser()
        self._assembly = MessageAssembly()
        self._begun = self._over = False
        self.headers: HeaderPairs = relayed.headers

    async def more(self) -> bytes:
        """Returns the next events; none at the end."""
        while not self._over:
            data = b"" if self._begun else self._relayed.first
            self._begun = True
            data = data or await self._relayed.more()
            self._over = not data
            events = list(self._parser.feed(data) if data else self._parser.end())
            if sent := b"".join([await self._convert(event) for event in events]):
                return sent
        return b""

    async def _convert(self, data: bytes) -> bytes:
        event = None if data.strip() == DONE else exact_json.decode(data)
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            return b""
        if event["type"] == "message_start" and isinstance(event.get("message"), dict):
            event = self._turn.start(event)
        self._assembly.add(event)
        if event["type"] == "message_stop":
            await self._turn.store(self._assembly.message())
        return typed_event(event)


async def _keep(continued: Continued) -> None:
    """Renews the claim for as long as the request runs."""
    while True:
        await asyncio.sleep(CLAIM_SECONDS / RENEWALS)
        try:
            await database.run(thread_renew, continued)
        except Exception:  # contains: the next renewal may succeed, and without any the turn is not stored
            logger.exception("thread_claim_not_renewed")
