"""A small ASGI client, without a server: it calls an application and records the messages that come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_app.http.asgi import Application, Message, Scope

WAIT = 60.0


@dataclass
class Exchange:
    """The messages of one request or socket."""

    sent: list[Message] = field(default_factory=list)
    received: int = 0
    """The number of calls of `receive`."""

    @property
    def status(self) -> int:
        return next(int(message["status"]) for message in self.sent if message["type"].endswith("response.start"))

    @property
    def headers(self) -> dict[str, str]:
        start = next(message for message in self.sent if message["type"].endswith("response.start"))
        return {name.decode(): value.decode() for name, value in start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent if message["type"].endswith("response.body"))

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.json["error"]


def http_scope(method: str, path: str, headers: dict[str, str] | None = None, query: str = "") -> Scope:
    """An HTTP scope as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "root_path": "",
        "query_string": query.encode(),
        "headers": _headers({"Host": "gateway.test", **(headers or {})}),
    }


def socket_scope(path: str, headers: dict[str, str] | None = None, query: str = "", *, denial: bool = True) -> Scope:
    """A WebSocket scope; with `denial` the server can answer a refused upgrade."""
    scope = http_scope("GET", path, headers, query)
    del scope["method"]
    extensions: dict[str, Any] = {"websocket.http.response": {}} if denial else {}
    return {**scope, "type": "websocket", "subprotocols": [], "extensions": extensions}


async def ask(application: Application, scope: Scope, chunks: Sequence[bytes] = (b"",)) -> Exchange:
    """Runs the application on a request whose body arrives in `chunks`; the client leaves after the response."""
    exchange, answered = Exchange(), asyncio.Event()
    pending = list(chunks)

    async def receive() -> Message:
        exchange.received += 1
        if scope["type"] == "websocket":
            return {"type": "websocket.connect"}
        if not pending:
            await answered.wait()
            return {"type": "http.disconnect"}
        chunk = pending.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(pending)}

    async def send(message: Message) -> None:
        exchange.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            answered.set()

    async with asyncio.timeout(WAIT):
        await application(scope, receive, send)
    return exchange


def _headers(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
