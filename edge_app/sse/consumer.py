"""What the event streams over HTTP share: their query, their frames, their refusals.

An endpoint says which stream a request means and how each event is shown; this module writes it, with heartbeats
that also re-check the key, until the view says that it is over, the client goes, or the server ends.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs

import structlog
from django.conf import settings
from structlog.contextvars import bind_contextvars

from core_app import jsontext
from core_app.errors import BadRequest, GatewayError, MethodNotAllowed
from core_app.jsontext import clean_text
from edge_app.followers import FOLLOWERS
from edge_app.http.errors import error_body, error_headers, internal_error
from edge_app.sse.writer import Receive, Send, heartbeat_frame, restart_frame, retry_frame, write
from events_app.batches import StoredEvent
from events_app.follower import Follower, FollowerReleased, FollowerSlow
from events_app.hub import HUB
from tenants_app.authentication import aprincipal_recheck
from tenants_app.principal import SESSIONS, Principal

Query = Mapping[str, str]

log = structlog.get_logger("gateway.streams")


class View(Protocol):
    """How one reader sees a stream; asked for every event, in order."""

    async def frame(self, event: StoredEvent) -> bytes:
        """The bytes to send; none to leave the event out."""

    def ends(self, event: StoredEvent) -> bool:
        """Whether the stream is over after it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream to be followed; `dropped` is what has to be said first, and, when it is `over`, all."""

    stream_id: int
    after: int
    view: View
    dropped: Mapping[str, object] | None = None
    over: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer without a stream; no body is 204."""

    body: Mapping[str, Any] | None


class EventEndpoint(ABC):
    """An ASGI application that answers GET; the gate has put the principal into the scope."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path_bind(scope)
        try:
            opened = await self._opened(scope)
        except GatewayError as error:
            await refuse(send, error)
        except Exception as error:  # the boundary of this wire: unknown exceptions are logged and answered with an id
            await refuse(send, internal_error(error))
        else:
            await self._answer(scope, receive, send, opened)

    @abstractmethod
    async def open(self, scope: Mapping[str, Any], query: Query, principal: Principal) -> Opened | Answer:
        """What the request comes to; raises GatewayError."""

    async def _opened(self, scope: dict[str, Any]) -> Opened | Answer:
        principal: Principal = scope["gateway.principal"]
        principal.require(SESSIONS)
        if scope["method"] != "GET":
            raise MethodNotAllowed("Events are read with GET.", allow="GET")
        return await self.open(scope, query_of(scope), principal)

    async def _answer(self, scope: dict[str, Any], receive: Receive, send: Send, opened: Opened | Answer) -> None:
        if isinstance(opened, Answer):
            await answer(send, 204 if opened.body is None else 200, opened.body)
            return
        principal: Principal = scope["gateway.principal"]
        try:
            with FOLLOWERS.counted(principal):
                async with Follower(opened.stream_id, after=opened.after, hub=HUB) as follower:
                    await write(receive, send, follower, _frames(follower, opened, principal))
        except GatewayError as error:
            await refuse(send, error)


async def _frames(follower: Follower, opened: Opened, principal: Principal) -> AsyncIterator[bytes]:
    """1. retry, 2. what is no longer kept, 3. every event that the view shows, until it ends."""
    yield retry_frame()
    if opened.dropped is not None:
        yield dropped_frame(opened.after, opened.dropped)
    if opened.over:
        return
    try:
        async for chunk in _chunks(follower, opened.view, principal):
            yield chunk
    except FollowerReleased:
        yield restart_frame()
    except (FollowerSlow, GatewayError) as error:
        # Behind the others, or the key may no longer read: the stream ends, and the client's next request says why.
        log.info("stream_ended", stream=opened.stream_id, reason=type(error).__name__)
    except Exception as error:  # the head is sent: all that is left is to end the stream and log why
        internal_error(error)


async def _chunks(follower: Follower, view: View, principal: Principal) -> AsyncIterator[bytes]:
    """Frames of one batch go out together; the heartbeat comes on time on a busy, filtered stream too."""
    clock = asyncio.get_running_loop().time
    due = clock() + settings.GATEWAY_HEARTBEAT_SECONDS
    while True:
        before = follower.position
        events = await follower.next(max(0.0, due - clock()))
        shown = []
        if events and events[0].offset > before + 1:
            kept = events[0].offset - 1
            shown.append(dropped_frame(kept, {"from": before + 1, "to": kept}))
        for event in events:
            shown.append(await view.frame(event))
            if view.ends(event):
                # A client that filters the end out must not come back for it again and again.
                yield b"".join(shown) if shown[-1] else b"".join(shown) + b"id: %d\n\n" % event.offset
                return
        if chunk := b"".join(shown):
            yield chunk
        if not events or clock() >= due:
            due = clock() + settings.GATEWAY_HEARTBEAT_SECONDS
            (await aprincipal_recheck(principal)).require(SESSIONS)
            yield heartbeat_frame(follower.position)


def dropped_frame(offset: int, dropped: Mapping[str, object]) -> bytes:
    """What is said in the place of events that are no longer kept."""
    return b"id: %d\nevent: events_dropped\ndata: %b\n\n" % (offset, jsontext.encode(dict(dropped)))


def path_bind(scope: Mapping[str, Any]) -> None:
    """Binds the session or group of the path to every line that is logged for this connection."""
    named = scope["url_route"]["kwargs"]
    ids = {name: named.get(f"{name}_id") for name in ("session", "group")}
    bind_contextvars(**{name: clean_text(value) for name, value in ids.items() if value is not None})


def query_of(scope: Mapping[str, Any]) -> Query:
    """The request's parameters; of a repeated one the last."""
    parsed = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return {name: values[-1] for name, values in parsed.items()}


def position_of(scope: Mapping[str, Any], query: Query) -> int | None:
    """`Last-Event-ID`, else `since`."""
    last = dict(scope["headers"]).get(b"last-event-id", b"").decode("latin-1").strip()
    if last:
        return number(last, "Last-Event-ID")
    return number(query["since"], "since") if "since" in query else None


def types_of(query: Query) -> frozenset[str] | None:
    """The filter; unknown types are nobody's fault and match nothing."""
    return frozenset(filter(None, query["types"].split(","))) if "types" in query else None


def number(text: str, field: str) -> int:
    """A whole number of at least 0, or BadRequest naming `field`."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"{field} must be a whole number of at least 0.", field=field)
    return int(text)


async def refuse(send: Send, error: GatewayError) -> None:
    """An error in the native face's shape."""
    headers = [(name.lower().encode(), value.encode()) for name, value in error_headers(error).items()]
    await answer(send, error.status, error_body(error), headers)


async def answer(
    send: Send,
    status: int,
    body: Mapping[str, Any] | None,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """A whole answer; without a body it has none of its headers either."""
    content = b"" if body is None else jsontext.encode(dict(body))
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())] if content else []
    await send({"type": "http.response.start", "status": status, "headers": [*head, *(headers or [])]})
    await send({"type": "http.response.body", "body": content})
