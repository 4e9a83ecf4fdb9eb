"""The stream of a background completion in its own dialect, from any event on, before its end and after.

Each event has its number as its `id`, so a client goes on with `after` or, as browsers do by themselves, with
`Last-Event-ID`. Without either the stream begins with the newest attempt, which is a whole stream of the dialect; so it
does for 0, the number of a client that has nothing yet.
"""

from __future__ import annotations

from collections.abc import Sequence

from core_app import database
from core_app.errors import BadRequest
from edge_app.http.asgi import Scope, header
from edge_app.http.query import Query, whole_number
from edge_app.sse.consumer import EventView, OpenStream
from edge_app.sse.frames import HEARTBEAT_COMMENT
from edge_app.sse.sending import send_stream
from events_app.batches import StoredEvent
from events_app.generations import Position
from events_app.models import Stream
from events_app.positions import Dropped, position
from faces.inference.http import Exchange
from inference_app.errors import ResponseNotFound
from responses_app.completions.events import ENDS, split_event
from responses_app.models import Kind, StoredResponse
from tenants_app.principal import INFERENCE

_TYPE = b'{"type":"'


class CompletionView(EventView):
    """The events as the dialect has them."""

    def __init__(self, kind: str) -> None:
        self._named = kind == Kind.MESSAGES

    def retry(self) -> bytes:
        """Returns nothing: the stream has the same bytes every time."""
        return b""

    def frame(self, event: StoredEvent) -> bytes:
        """Returns the event with its number; Anthropic's have their type on a line of their own."""
        mark, data = split_event(event)
        if mark == "last" and not self._named:
            data = b"[DONE]"
        name = b"event: %b\n" % _type_of(data) if self._named else b""
        return b"id: %d\n%bdata: %b\n\n" % (event.offset, name, data)

    def ends(self, event: StoredEvent) -> bool:
        """True for the end of an attempt or of the completion."""
        return split_event(event)[0] in ENDS

    def heartbeat(self, position: Position, *, behind: bool) -> bytes:
        """Returns a comment; there are no positions but the numbers of events."""
        return HEARTBEAT_COMMENT

    def render_dropped(self, after: Position, dropped: Dropped) -> bytes:
        """Returns nothing: the stream ends, and its client comes back with the number that it has."""
        return b""


async def send_completion(exchange: Exchange, row: StoredResponse, after: int) -> None:
    """Sends the events behind the number `after`: 0 for those of the newest attempt, -1 for all. The caller counts the
    stream (`FOLLOWERS.track`)."""
    opened = await database.run(_open, row, after)
    await send_stream(exchange, opened, INFERENCE)


def requested_number(scope: Scope, query: Query, names: Sequence[str]) -> int:
    """Returns the number of the last event that the client has: `Last-Event-ID`, else the first of the parameters
    `names` that is there; 0 without any. Raises BadRequest."""
    last = (header(scope, b"last-event-id") or b"").decode("latin-1").strip()
    if last:
        return whole_number(last, "Last-Event-ID")
    for name in names:
        if (after := query.get(name)) is not None:
            return -1 if after == "-1" else whole_number(after, name)
    return 0


def _open(row: StoredResponse, after: int) -> OpenStream:
    assert row.stream_id is not None
    try:
        here = position(row.stream_id)
    except Stream.DoesNotExist:
        raise ResponseNotFound(f"There is no completion '{row.public_id}'.", field="id") from None
    start = after or row.abandoned if after >= 0 else 0
    if start > here.head:
        raise BadRequest(f"The newest event has the number {here.head}.", field="after")
    return OpenStream(row.stream_id, start, here, CompletionView(row.kind), over=row.finished and start == here.head)


def _type_of(data: bytes) -> bytes:
    """Returns the type of an event of Anthropic's API, which is its first member where the gateway writes it."""
    return data[len(_TYPE) : data.index(b'"', len(_TYPE))] if data.startswith(_TYPE) else b"message"
