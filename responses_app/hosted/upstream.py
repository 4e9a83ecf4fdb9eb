"""A composed response in place of a provider's: what a face hands to its client, or to the recording before it."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from core_app.errors import GatewayError
from core_app.header_pairs import HeaderPairs
from inference_app.conversion import exact_json
from inference_app.conversion.sse import typed_event
from inference_app.request_kinds import NATIVE
from responses_app.events import LAST_TYPES
from responses_app.hosted.run import Composition, HostedRun, failed_events

Json = dict[str, Any]

_JSON = (b"content-type", b"application/json")
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_OF_FORM = frozenset(name for name, _ in (_JSON, *_STREAM))


class HostedAnswer:
    """The answer, entered with `async with`: a GatewayError before its first event is raised there, so that it becomes
    the answer's status. `streamed`: `more` returns events, else `first` is the whole response."""

    status = 200
    wire = NATIVE["responses"]

    def __init__(self, given: Composition, *, streamed: bool) -> None:
        self._run = HostedRun(given)
        self._events = self._run.events()
        self._streamed = streamed
        self._number = 0
        self._begun: Json = {}
        self._over = False
        self.first = b""

    async def __aenter__(self) -> HostedAnswer:
        try:
            if self._streamed:
                self.first = await self._next()
            else:
                async for event in self._events:
                    if event["type"] in LAST_TYPES:
                        self.first = exact_json.encode(event["response"])
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def headers(self) -> HeaderPairs:
        """The headers of the answer, with those of the newest call to a provider."""
        told = [pair for pair in self._run.headers if pair[0] not in _OF_FORM]
        return [*(_STREAM if self._streamed else [_JSON]), *told]

    async def more(self) -> bytes:
        """Returns the next event, none at the end. A failure becomes the response's own."""
        if self._over:
            return b""
        try:
            return await self._next()
        except GatewayError as error:
            return self._encode(failed_events(error, self._begun))

    async def _next(self) -> bytes:
        async for event in self._events:
            return self._encode(event)
        self._over = True
        return b""

    def _encode(self, event: Json) -> bytes:
        if event["type"] in LAST_TYPES:
            self._over = True
        self._begun = self._begun or event.get("response") or {}
        numbered = {**event, "sequence_number": self._number}
        self._number += 1
        return typed_event(numbered)

    async def _close(self) -> None:
        await self._events.aclose()
