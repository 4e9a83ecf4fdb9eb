"""One response on a socket: the provider's events on their way to the client, numbered, recorded and steered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from core_app import jsontext
from faces.responses.socket.frames import Json
from faces.responses.socket.steering import Target, needs_client
from faces.responses.socket.wanted import Wanted
from responses_app.assembly import Assembly
from responses_app.events import LAST_TYPES
from responses_app.items import replayed_output
from responses_app.recording import Recording

SendEvent = Callable[[Json], Awaitable[None]]


class Steered(Exception):
    """The response ends here, for the sake of its successor."""


class SocketResponse:
    """A response from its request to its end. `created` is called with its target before the client hears of it;
    `recording` is None for one that is not stored."""

    def __init__(
        self, wanted: Wanted, recording: Recording | None, send: SendEvent, created: Callable[[Target], None]
    ) -> None:
        self._wanted = wanted
        self._recording = recording
        self._send = send
        self._created = created
        self._assembly = Assembly()
        self._response: Json = {}
        self._has_calls = False
        self.target: Target | None = None
        self.status = "failed"
        """The status of its end."""

    async def take(self, event: Json) -> None:
        """Sends one event. Raises Steered where the next item would begin, and a successor waits."""
        kind = event.get("type")
        if kind == "response.output_item.added":
            if self.target is not None and self.target.steers and not self._has_calls:
                raise Steered
            self._has_calls = self._has_calls or needs_client(event.get("item"))
        if self._recording is not None:
            event = await self._recording.take(event)
        self._assembly.add(event)
        if isinstance(response := event.get("response"), dict):
            event = self._note(event, response)
        if kind in LAST_TYPES or kind == "error":
            self._end(str(self._response.get("status")) if kind != "error" else "failed")
        await self._send(_socket_error(event) if kind == "error" else self._number(event))

    async def end_steered(self) -> None:
        """Ends the response where it is, as the API says: `incomplete`, with the reason `steered`."""
        output = self._assembly.output()
        ended = {**self._response, "status": "incomplete", "output": output}
        ended["incomplete_details"] = {"reason": "steered"}
        await self.take({"type": "response.incomplete", "response": ended})

    async def cancel(self) -> None:
        """Stores what a client has seen that has left."""
        if self.target is not None:
            self.target.over = True
        if self._recording is not None:
            await self._recording.cancel()

    @property
    def waits_for_client(self) -> bool:
        """True if the client has to answer something before the conversation can go on."""
        return any(map(needs_client, self.output))

    @property
    def output(self) -> Sequence[Json]:
        """The items of the ended response."""
        found: Any = self._response.get("output")
        return found if isinstance(found, list) else self._assembly.output()

    def replay_items(self) -> str:
        """Returns the output as later requests show it to a model."""
        return replayed_output(jsontext.encode_text(list(self.output)), 0)

    def _note(self, event: Json, response: Json) -> Json:
        if self._recording is None:
            response = {**response, "previous_response_id": self._wanted.state.previous_id}
        self._response = response
        if self.target is None and isinstance(response.get("id"), str):
            self.target = Target(response["id"], self._wanted.stream_id, self._wanted.no_steering)
            self._created(self.target)
        return {**event, "response": response}

    def _end(self, status: str) -> None:
        self.status = status
        if self.target is not None:
            self.target.over = True

    def _number(self, event: Json) -> Json:
        return event if self.target is None else {**event, "sequence_number": self.target.next_number()}


def _socket_error(event: Json) -> Json:
    """Returns the error of a stream as this socket has errors."""
    about = {"code": event.get("code"), "message": str(event.get("message") or ""), "param": event.get("param")}
    return {"type": "error", "error": {**about, "type": "server_error"}}
