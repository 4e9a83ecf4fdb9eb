"""Clients that write down what they send and get: whole answers, event streams and WebSockets, over real sockets.

Every wait is for something that happens, and fails after WAIT seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.contract.recording.deltas import joined_blocks
from tests.contract.recording.place import KEYS, WAIT, Place
from tests.contract.recording.transcript import Transcript

UNSET: Any = object()
OWNER = "owner"
HEARTBEAT = b": heartbeat"

SHAPE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
"""Answers of this shape are held back until they fit, and said in one delta: sessions that have it as their
`responseFormat` have the same offsets in every run."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Somebody who asks the gateway; what is asked with `ask` is written down, with `quietly` it is not."""

    def __init__(self, place: Place, transcript: Transcript) -> None:
        self.place = place
        self.transcript = transcript

    def quietly(self, method: str, path: str, payload: Any = UNSET, *, who: str | None = OWNER, **more: Any) -> Answer:
        """A request and its answer."""
        with self._exchange(method, path, self._content(payload, more), self._headers(who, more)) as response:
            return _answer(response)

    def do(self, method: str, path: str, payload: Any = UNSET) -> Answer:
        """A request that is granted, and its answer."""
        answer = self.quietly(method, path, payload)
        assert answer.status < 300, answer.body
        return answer

    def ask(self, method: str, path: str, payload: Any = UNSET, *, who: str | None = OWNER, **more: Any) -> Answer:
        """The same, written down. `raw` is a body as it is; `headers` go over the usual ones, None leaves one out."""
        content = self._content(payload, more)
        self._asked(method, path, who, content, more)
        with self._exchange(method, path, content, self._headers(who, more)) as response:
            answer = _answer(response)
            self.transcript.head(str(response.status), response.getheaders(), answer.body)
        self.transcript.body(answer.body)
        return answer

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def post(self, path: str, payload: Any = UNSET, **more: Any) -> Answer:
        return self.ask("POST", path, payload, **more)

    def session(self, name: str, **fields: Any) -> str:
        """A new session of that id, on the tour unless a model is given."""
        self.do("POST", "/v1/sessions", {"sessionId": name, "model": "demo:tour", **fields})
        return name

    def prompt(self, session: str, text: str, **fields: Any) -> str:
        """The `requestId` of an accepted prompt."""
        return str(self.do("POST", f"/v1/sessions/{session}/prompt", {"text": text, **fields}).json["requestId"])

    def ended(self, session: str, request: str) -> None:
        """Until that run has ended."""
        with self.quiet_stream(f"/v1/sessions/{session}/events?requestId={request}") as stream:
            stream.rest()

    def run(self, session: str, text: str, **fields: Any) -> str:
        """A prompt and the end of its run."""
        request = self.prompt(session, text, **fields)
        self.ended(session, request)
        return request

    def event(self, session: str, request: str, *types: str) -> dict[str, Any]:
        """The data of the next event of these types of a run, as soon as it comes."""
        with self.quiet_stream(f"/v1/sessions/{session}/events?requestId={request}") as stream:
            return stream.until(*types)

    def asked(self, session: str, request: str, *types: str) -> dict[str, Any]:
        """The same for what a run waits for, once the run does wait: that is a commit later."""
        data = self.event(session, request, *types)
        self.waiting(session)
        return data

    def waiting(self, session: str, **more: Any) -> None:
        """Until the session waits for somebody."""
        path = f"/v1/sessions/{session}"
        self.place.until(lambda: self.quietly("GET", path, **more).json["state"].startswith("waiting_"))

    @contextmanager
    def stream(self, path: str, *, who: str | None = OWNER, **more: Any) -> Iterator[Stream]:
        """An event stream, whose bytes are written down at the end of the block as far as they were read."""
        self._asked("GET", path, who, b"", more)
        with self._exchange("GET", path, b"", self._headers(who, more)) as response:
            stream = Stream(response)
            yield stream
            self.transcript.head(str(response.status), response.getheaders())
            self.transcript.body(joined_blocks(stream.blocks))

    @contextmanager
    def quiet_stream(self, path: str) -> Iterator[Stream]:
        """An event stream that only the scenario needs."""
        with self._exchange("GET", path, b"", self._headers(OWNER, {})) as response:
            assert response.status in (200, 204), response.read()
            yield Stream(response)

    @contextmanager
    def socket(self, session: str, *, who: str | None = OWNER, **query: str) -> Iterator[Socket]:
        """A WebSocket; a refused upgrade is written down and raises InvalidStatus."""
        path = f"/v1/sessions/{session}/ws" + (f"?{urlencode(query)}" if query else "")
        self.transcript.line(f"> WS {path}" + (f" as {who}" if who else ""))
        try:
            connection = connect(
                f"ws://127.0.0.1:{self.place.port}{path}",
                additional_headers={"X-API-Key": KEYS[who]} if who else {},
                compression=None,
                proxy=None,
                max_size=None,
                max_queue=None,
                open_timeout=WAIT,
                close_timeout=WAIT,
            )
        except InvalidStatus as refused:
            response = refused.response
            self.transcript.head(str(response.status_code), response.headers.raw_items())
            self.transcript.body(bytes(response.body or b""))
            raise
        with connection:
            yield Socket(connection, self.transcript)

    def _asked(self, method: str, path: str, who: str | None, content: bytes, more: Mapping[str, Any]) -> None:
        self.transcript.line(f"> {method} {path}" + (f" as {who}" if who else ""))
        for name, value in (more.get("headers") or {}).items():
            self.transcript.line(f"> {name.lower()}: {value if value is not None else '-'}")
        if len(content) <= 1000:
            self.transcript.body(content, "> |")
        else:
            self.transcript.line(f"> ({len(content)} bytes)")

    def _headers(self, who: str | None, more: Mapping[str, Any]) -> dict[str, str]:
        usual = {"X-API-Key": KEYS[who] if who else None, "Content-Type": "application/json"}
        given = usual | (more.get("headers") or {})
        return {name: value for name, value in given.items() if value is not None}

    def _content(self, payload: Any, more: Mapping[str, Any]) -> bytes:
        if "raw" in more:
            return bytes(more["raw"])
        return b"" if payload is UNSET else json.dumps(payload).encode()

    @contextmanager
    def _exchange(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> Iterator[HTTPResponse]:
        connection = HTTPConnection("127.0.0.1", self.place.port, timeout=WAIT)
        try:
            connection.request(method, path, body=content or None, headers=headers)
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()


def _answer(response: HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


class Stream:
    """A reader of server-sent events; `blocks` are all it read but the heartbeats, which come by the clock."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        self.blocks: list[bytes] = []

    def until(self, *types: str) -> dict[str, Any]:
        """Reads through the next event of one of these types, or of any; its data."""
        while (block := self._block()) is not None:
            fields = dict(line.split(b": ", 1) for line in block.splitlines() if b": " in line)
            name = fields.get(b"event", b"").decode()
            if name and (not types or name in types):
                return dict(json.loads(fields[b"data"]))
        raise AssertionError(f"the stream ended without {types}: {self.blocks[-9:]!r}")

    def heartbeat(self, *, behind: bool = False) -> None:
        """Reads through the next heartbeat, and keeps it; with the bare id that follows it when the reader is `behind`
        the events that its filter leaves out."""
        while (block := self._block(heartbeats=True)) is not None:
            if HEARTBEAT in block:
                if behind:
                    self._block()
                return
        raise AssertionError("the stream ended without a heartbeat")

    def rest(self) -> None:
        """Reads to the end that the gateway makes."""
        while self._block() is not None:
            pass

    def _block(self, *, heartbeats: bool = False) -> bytes | None:
        """The next block that is kept; None at the end."""
        while True:
            block = b""
            while not block.endswith(b"\n\n"):
                line = self._response.readline()
                if not line:
                    self.blocks += [block] if block else []
                    return None
                block += line
                if line.startswith(b":"):
                    break
            if heartbeats or HEARTBEAT not in block:
                self.blocks.append(block)
                return block


class Socket:
    """A client of the WebSocket; every frame is written down in the order in which it went or came."""

    def __init__(self, connection: ClientConnection, transcript: Transcript) -> None:
        self._connection = connection
        self._transcript = transcript

    def send(self, frame: str | bytes, *, shown: str | None = None) -> None:
        """A frame as it is."""
        kind = ">" if isinstance(frame, str) else "> (binary)"
        self._transcript.line(shown or f"{kind} {frame!r}")
        self._connection.send(frame)

    def ask(self, action: str, **fields: Any) -> dict[str, Any]:
        """An action and its answer, with the events that come before that."""
        self.send(json.dumps({"action": action, **fields}))
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Through the next answer."""
        while "ok" not in (frame := self._next()):
            pass
        return frame

    def until(self, *types: str) -> dict[str, Any]:
        """Through the next event of one of these types; its data."""
        while (frame := self._next()).get("event") not in types:
            pass
        return dict(frame["data"])

    def closed(self) -> None:
        """To the close that the gateway makes, with its code and reason."""
        try:
            while True:
                self._next()
        except ConnectionClosed as close:
            received = close.rcvd
            self._transcript.line(f"< close {received.code} {received.reason}" if received else "< no close")

    def _next(self) -> dict[str, Any]:
        frame = self._connection.recv(timeout=WAIT)
        self._transcript.line("<" + (frame if isinstance(frame, str) else repr(frame)))
        return dict(json.loads(frame))
