"""A foreground response on its way to the client, stored when it ends and before the client is told that it has ended.

So a client that has its response can continue it. A response whose client left is stored as cancelled, with what was
sent of it; one that no client has heard of is not stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from core_app import database
from core_app.header_pairs import HeaderPairs
from core_app.ids import new_id
from inference_app.conversion import exact_json
from inference_app.conversion.sse import DONE, EventParser, typed_event
from responses_app.assembly import Assembly
from responses_app.events import LAST_TYPES
from responses_app.models import ResponseStatus
from responses_app.preparation import Prepared
from responses_app.request import StateRequest
from responses_app.services import ForegroundResponse, response_store
from responses_app.wire import Json, Stamp, end_response, ended_status
from tenants_app.principal import Principal

MAX_PASSED_BYTES = 1024 * 1024
"""Deltas that are kept as they came; beyond, they are read."""

_BLANK = b"\n\n"
_DELTAS = tuple(
    b"event: response.%b.delta\n" % kind
    for kind in (b"output_text", b"function_call_arguments", b"reasoning_summary_text", b"reasoning_text")
)
_INDEX = b'"output_index":'


class Relayed(Protocol):
    """The response of a provider (`inference_app.relay.RelayedResponse`)."""

    @property
    def headers(self) -> HeaderPairs: ...

    @property
    def first(self) -> bytes: ...

    async def more(self) -> bytes: ...


@dataclass(slots=True)
class RecordedAnswer:
    """A complete response that is stored."""

    headers: HeaderPairs
    first: bytes
    status: int = 200

    async def more(self) -> bytes:
        """Returns nothing: the response is complete."""
        return b""


class Recording:
    """One response. `answer` records a complete one, `stream` one that is streamed."""

    def __init__(self, principal: Principal, state: StateRequest, prepared: Prepared) -> None:
        self._principal = principal
        self._state = state
        self._own_input = prepared.own_input
        self._place = prepared.place
        self._model = prepared.envelope.model
        self._stamp = Stamp(new_id("resp"), False, state.previous_id, state.conversation_id)
        self._response: Json | None = None
        self._assembly = Assembly()
        self._passed: list[bytes] = []
        self._passed_bytes = 0
        self._saved = False

    async def answer(self, relayed: Relayed) -> RecordedAnswer:
        """Stores the complete response and returns it as the client gets it."""
        response = self._stamp.on(exact_json.decode(relayed.first))
        await self._save(response, ended_status(response))
        return RecordedAnswer(relayed.headers, exact_json.encode(response))

    def stream(self, relayed: Relayed) -> RecordedStream:
        """Returns the stream as the client gets it."""
        return RecordedStream(relayed, self)

    async def cancel(self) -> None:
        """Stores what a client has seen that left before the end."""
        if self._response is None or self._saved:
            return
        self._read_passed()
        self._assembly.close()
        await self._save(
            end_response(self._response, ResponseStatus.CANCELLED, self._assembly.output()), ResponseStatus.CANCELLED
        )

    async def take(self, event: Json) -> Json:
        """Returns the event for the client; stores the response before its last event."""
        if event.get("type") == "response.output_item.done":
            # It has the whole text.
            self._drop_passed(event.get("output_index"))
        self._assembly.add(event)
        response = event.get("response")
        if isinstance(response, dict):
            self._response = response = self._stamp.on(response)
            event = {**event, "response": response}
        if event.get("type") in LAST_TYPES and self._response is not None:
            await self._save(self._response, ended_status(self._response))
        elif event.get("type") == "error" and self._response is not None:
            self._read_passed()
            self._assembly.close()
            error = {"code": "server_error", "message": str(event.get("message") or "")}
            failed = end_response(self._response, ResponseStatus.FAILED, self._assembly.output(), error)
            await self._save(failed, ResponseStatus.FAILED)
        return event

    def note(self, deltas: bytes) -> None:
        """Keeps deltas that went to the client unread: they are needed only if the response is cut off."""
        self._passed.append(deltas)
        self._passed_bytes += len(deltas)
        if self._passed_bytes > MAX_PASSED_BYTES:
            self._read_passed()

    def _read_passed(self) -> None:
        """Adds the deltas to the response as it is so far."""
        passed, self._passed, self._passed_bytes = self._passed, [], 0
        for data in EventParser().feed(b"".join(passed)):
            self._assembly.add(exact_json.decode(data))

    def _drop_passed(self, index: Any) -> None:
        """Forgets the deltas of an item that is whole; those of others are read, because they come before what ends
        them."""
        joined = b"".join(self._passed)
        if joined.count(_INDEX) != joined.count(b"%b%d," % (_INDEX, index) if isinstance(index, int) else _BLANK):
            self._read_passed()
        self._passed, self._passed_bytes = [], 0

    async def _save(self, response: Mapping[str, Any], status: ResponseStatus) -> None:
        if self._saved:
            return
        self._saved = True
        row = ForegroundResponse(
            self._state, self._own_input, self._model, self._stamp.response_id, status, response, self._place
        )
        await database.run(response_store, principal=self._principal, given=row)


class RecordedStream:
    """The stream of a recording, as an exchange sends it."""

    status = 200
    first = b""

    def __init__(self, relayed: Relayed, recording: Recording) -> None:
        self._relayed = relayed
        self._recording = recording
        self._parser = EventParser()
        self._begun = self._over = False
        self.headers = relayed.headers

    async def more(self) -> bytes:
        """Returns the next events; none at the end."""
        while not self._over:
            data = b"" if self._begun else self._relayed.first
            self._begun = True
            data = data or await self._relayed.more()
            self._over = not data
            if _are_deltas(data) and self._parser.is_between_events:
                self._recording.note(data)
                return data
            events = list(self._parser.feed(data) if data else self._parser.end())
            if sent := b"".join([await self._convert(event) for event in events]):
                return sent
        return b""

    async def _convert(self, data: bytes) -> bytes:
        if data.strip() == DONE:
            return b"data: [DONE]\n\n"
        event = exact_json.decode(data)
        return typed_event(await self._recording.take(event) if isinstance(event, dict) else {"type": "error"})


def _are_deltas(data: bytes) -> bool:
    """True for whole events that are all deltas of one kind: the most frequent events, which are the same for every
    client. To decode and encode them again took as long as their conversion."""
    head = next((head for head in _DELTAS if data.startswith(head)), None)
    if head is None or not data.endswith(_BLANK):
        return False
    events = data.count(_BLANK)
    return events == 1 or data.count(_BLANK + head) == events - 1
