"""The stream of a background response: its events from any number on, before its end and after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from core_app import database, jsontext
from core_app.errors import BadRequest
from edge_app.sse.consumer import EventView, OpenStream, stream_chunks
from edge_app.sse.frames import HEARTBEAT_COMMENT
from edge_app.sse.sending import send_stream
from events_app.batches import StoredEvent
from events_app.follower import Follower
from events_app.generations import Position
from events_app.hub import HUB
from events_app.models import Stream
from events_app.positions import Dropped, position
from faces.responses.http import Exchange
from inference_app.errors import ResponseNotFound
from responses_app.events import LAST_TYPES, event_type, offset_after, sequence_number
from responses_app.models import StoredResponse
from responses_app.wire import response_to_wire
from tenants_app.principal import INFERENCE, Principal


class ResponseView(EventView):
    """The events as the API has them."""

    def __init__(self, pk: int) -> None:
        self._pk = pk
        self._last: bytes | None = None

    def retry(self) -> bytes:
        """Returns nothing: this API resumes by the number of an event, with the same bytes every time."""
        return b""

    async def prepare(self, events: Sequence[StoredEvent]) -> None:
        """Reads the finished response, which the last event has."""
        if event_type(events[-1]) in LAST_TYPES:
            self._last = await database.run(_finished, self._pk)

    def frame(self, event: StoredEvent) -> bytes:
        """Returns the event with its number."""
        kind, more = event_type(event), b',"sequence_number":%d}' % sequence_number(event)
        if kind in LAST_TYPES:
            more = b',"response":%b%b' % (self._last or b"null", more)
        return b"event: %b\ndata: %b%b\n\n" % (kind.encode(), event.data[:-1], more)

    def ends(self, event: StoredEvent) -> bool:
        """True for the response's end."""
        return event_type(event) in LAST_TYPES

    def heartbeat(self, position: Position, *, behind: bool) -> bytes:
        """Returns a comment; there are no positions but the numbers of events."""
        return HEARTBEAT_COMMENT

    def render_dropped(self, after: Position, dropped: Dropped) -> bytes:
        """Returns nothing: the stream ends, and its client comes back with the number that it has."""
        return b""


async def send_events(exchange: Exchange, row: StoredResponse, starting_after: int) -> None:
    """Sends the events behind `starting_after`, until the response's end or the client's. The caller counts the stream
    (`FOLLOWERS.track`), before it starts what the stream is of."""
    await send_stream(exchange, await database.run(_open, row, starting_after), INFERENCE)


async def read_events(principal: Principal, row: StoredResponse) -> AsyncIterator[bytes]:
    """Yields all events of a response, as its stream has them, until its end. The caller counts the stream."""
    opened = await database.run(_open, row, -1)
    async with _follow(opened) as follower:
        async for chunk in stream_chunks(follower, opened, principal, INFERENCE):
            yield chunk


def _follow(opened: OpenStream) -> Follower:
    return Follower(opened.stream_id, after=opened.start, generations=opened.here.generations, hub=HUB)


def _open(row: StoredResponse, starting_after: int) -> OpenStream:
    if row.stream_id is None:
        raise BadRequest(
            "This response has no stream: it was not created with both 'background' and 'stream'.", field="stream"
        )
    try:
        here = position(row.stream_id)
    except Stream.DoesNotExist:
        raise ResponseNotFound(f"There is no response '{row.public_id}'.", field="response_id") from None
    after = offset_after(starting_after)
    if after > here.head:
        raise BadRequest(f"The newest event has the number {here.head - 1}.", field="starting_after")
    return OpenStream(row.stream_id, after, here, ResponseView(row.pk), over=row.finished and after == here.head)


def _finished(pk: int) -> bytes | None:
    row = StoredResponse.objects.filter(pk=pk).first()
    return None if row is None else jsontext.encode(response_to_wire(row))
