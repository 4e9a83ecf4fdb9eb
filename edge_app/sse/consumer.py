"""The base of event-stream endpoints: a consumer that opens one stream and sends its events until the client has gone.

A face implements `open`: which stream a request means, where it starts, and how each event is shown (`EventView`). The
consumer sends frames, reports removed events as `events_dropped`, and rechecks the key at every heartbeat.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog
from django.conf import settings

from core_app.errors import GatewayError, MethodNotAllowed
from edge_app.consumer import ChannellessConsumer
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import ClientGone, Scope
from edge_app.http.errors import face_error_body, internal_error
from edge_app.http.log_context import bind_path_ids
from edge_app.http.query import Query, query_of, stream_position
from edge_app.http.response import send_empty, send_error, send_json
from edge_app.sse.frames import HEARTBEAT_COMMENT, RESTART_COMMENT, dropped_frame, id_frame, retry_field
from edge_app.sse.writer import write_stream
from events_app.batches import StoredEvent
from events_app.follower import Follower, FollowerReleased, FollowerReset, FollowerSlow, Missing
from events_app.generations import Position
from events_app.hub import HUB
from events_app.positions import Dropped, StreamPosition, dropped_range
from tenants_app.authentication import KeyWatch
from tenants_app.principal import SESSIONS_READ, Principal

logger = structlog.get_logger("gateway.streams")


class EventView(ABC):
    """The form in which one client sees a stream; called for every event, in order."""

    async def prepare(self, events: Sequence[StoredEvent]) -> None:
        """Loads what `frame` needs for these events."""
        return

    @abstractmethod
    def frame(self, event: StoredEvent) -> bytes:
        """Returns the bytes to send; none for an event that is left out."""

    def ends(self, event: StoredEvent) -> bool:
        """True when the stream is over after this event."""
        return False

    def retry(self) -> bytes:
        """Returns the line with the reconnection delay; none for protocols whose streams are the same every time."""
        return retry_field()

    def opening(self) -> bytes:
        """Returns the frames that come before all events."""
        return b""

    @property
    def heartbeat_seconds(self) -> float:
        """The pause between two heartbeats."""
        seconds: float = settings.GATEWAY_HEARTBEAT_SECONDS
        return seconds

    def heartbeat(self, position: Position, *, behind: bool) -> bytes:
        """Returns a heartbeat. A client that is `behind` was shown nothing of the events up to `position`."""
        return HEARTBEAT_COMMENT + (id_frame(position) if behind else b"")

    def render_dropped(self, after: Position, dropped: Dropped) -> bytes:
        """Returns the frame that says which events the client misses; it goes on after `after`."""
        return dropped_frame(after, dropped)


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A stream to follow from the offset `after` on, which was found `here`.

    `dropped` is the `events_dropped` object to send first; when the stream is `over`, nothing follows it.
    """

    stream_id: int
    after: int
    here: StreamPosition
    view: EventView
    dropped: Dropped | None = None
    over: bool = False

    @property
    def start(self) -> Position:
        """The position of `after`."""
        return self.here.at(self.after)


@dataclass(frozen=True, slots=True)
class PlainResponse:
    """A response in place of a stream: JSON, or 204 when there is no body."""

    body: Mapping[str, Any] | None


class EventStreamConsumer(ChannellessConsumer, ABC):
    """One GET request for a stream. A face implements `open`."""

    required_scope: ClassVar[str] = SESSIONS_READ
    """The key's scope, checked at the start, before each batch and at every heartbeat."""

    @abstractmethod
    async def open(self, query: Query) -> OpenStream | PlainResponse:
        """Finds what the request asks for; raises GatewayError to refuse it."""

    def error_body(self, error: GatewayError) -> Mapping[str, Any]:
        """Returns the body of an error response, in the shape of the request's face."""
        return face_error_body(self.scope, error)

    async def http_request(self, message: Mapping[str, Any]) -> None:
        """Serves the request."""
        bind_path_ids(self.scope)
        try:
            opened = await self._open()
        except GatewayError as error:
            await self._refuse(error)
            return
        except Exception as error:  # the boundary of this wire: unknown exceptions are logged and get an error id
            await self._refuse(internal_error(error))
            return
        if isinstance(opened, PlainResponse):
            await self._respond(opened)
            return
        principal = self.principal
        try:
            with FOLLOWERS.track(principal):
                stream_id, generations = opened.stream_id, opened.here.generations
                async with Follower(stream_id, after=opened.start, generations=generations, hub=HUB) as follower:
                    chunks = stream_chunks(follower, opened, principal, self.required_scope)
                    await write_stream(self.receive, self.base_send, follower, chunks)
        except GatewayError as error:
            await self._refuse(error)

    async def http_disconnect(self, message: Mapping[str, Any]) -> None:
        """Ends a request whose client left before it was served."""
        raise ClientGone

    async def _open(self) -> OpenStream | PlainResponse:
        self.principal.require(self.required_scope)
        if self.scope["method"] != "GET":
            raise MethodNotAllowed("Events are read with GET.", allow="GET")
        return await self.open(query_of(self.scope))

    async def _respond(self, response: PlainResponse) -> None:
        if response.body is None:
            await send_empty(self.base_send)
        else:
            await send_json(self.base_send, 200, response.body)

    async def _refuse(self, error: GatewayError) -> None:
        await send_error(self.base_send, error, self.error_body(error))


async def stream_chunks(
    follower: Follower, stream: OpenStream, principal: Principal, required_scope: str
) -> AsyncIterator[bytes]:
    """Yields the retry delay, what is no longer kept, and then all frames of a batch together, until the stream ends.

    The heartbeat comes in time on a busy stream whose events are all filtered out, too.
    """
    clock, view = asyncio.get_running_loop().time, stream.view
    if opening := view.retry() + view.opening():
        yield opening
    if stream.dropped is not None:
        yield view.render_dropped(stream.start, stream.dropped)
    if stream.over:
        return
    watch = KeyWatch(principal, required_scope)
    due, behind = clock() + view.heartbeat_seconds, False
    try:
        while True:
            events = await follower.next(max(0.0, due - clock()))
            if events:
                if not watch.fresh:
                    await watch.check()
                await view.prepare(events)
            frames, ended = _frames(view, follower.missing, events)
            if chunk := b"".join(frames):
                yield chunk
            if ended:
                return
            if events:
                behind = not frames[-1]
            if not events or clock() >= due:
                due = clock() + view.heartbeat_seconds
                await watch.check()
                yield view.heartbeat(follower.position, behind=behind)
                behind = False
    except FollowerReset as reset:
        yield view.render_dropped(reset.after, reset.dropped) + RESTART_COMMENT
    except FollowerReleased:
        yield RESTART_COMMENT
    except (FollowerSlow, GatewayError) as error:
        # The client is too far behind, or its key is no longer good: its next request gets the reason.
        logger.info("stream_ended", stream=stream.stream_id, reason=type(error).__name__)
    except Exception as error:  # the head has been sent: all that is left is to end the stream and to log why
        internal_error(error)


def _frames(view: EventView, missing: Missing | None, events: Sequence[StoredEvent]) -> tuple[list[bytes], bool]:
    """Returns the frames for events, `missing` before them, and True when the stream ends with them."""
    frames = []
    if events and missing is not None:
        frames.append(view.render_dropped(missing[1], dropped_range(*missing)))
    for event in events:
        frame = view.frame(event)
        frames.append(frame)
        if view.ends(event):
            if not frame:
                # A client that filters the last event out must not come back for it again and again.
                frames.append(id_frame(event.position))
            return frames, True
    return frames, False


def requested_position(scope: Scope, query: Query) -> Position | None:
    """Returns `Last-Event-ID`, else `since`; None without either. Raises BadRequest."""
    last = dict(scope["headers"]).get(b"last-event-id", b"").decode("latin-1").strip()
    if last:
        return stream_position(last, "Last-Event-ID")
    return stream_position(query["since"], "since") if "since" in query else None


def requested_types(query: Query) -> frozenset[str] | None:
    """Returns the event types that the client asks for, None for all; unknown ones match nothing."""
    return frozenset(filter(None, query["types"].split(","))) if "types" in query else None
