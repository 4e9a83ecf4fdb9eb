"""A provider in the test's own loop that sends exactly the bytes of a script: status, headers, pieces, and its end.

`scripted(...)` answers every request with the same reply, or with one reply after the other. The providers `c`, `r` and
`a` of the configuration speak chat completions, Responses and Anthropic Messages; further names are shipped ones.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference_app.catalogue.config import MODELS

Json = dict[str, Any]
WIRES = {"chat": "c", "responses": "r", "messages": "a"}
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
SSE = {"content-type": "text/event-stream"}

DROP = None
"""A piece that breaks the connection."""

CONFIG = """
models:
  providers:
    c: {{base_url: "{url}/v1", api_key: none}}
    r: {{base_url: "{url}/v1", api_key: none, wire: openai-responses}}
    a: {{base_url: "{url}", api_key: none, wire: anthropic}}
    second: {{base_url: "{url}/second/v1", api_key: none}}
    xai: {{base_url: "{url}/v1", api_key: none}}
    anthropic: {{base_url: "{url}", api_key: none}}
    deepseek: {{base_url: "{url}/v1", api_key_env: DEEPSEEK_API_KEY}}
    unresolved: {{base_url: "http://no-such-host.invalid/v1", api_key: none}}
    {providers}
  model_aliases:
    c-first: [{{model: "c:m", weight: 1000000}}, {{model: "second:m", weight: 0}}]
    r-first: [{{model: "r:m", weight: 1000000}}, {{model: "second:m", weight: 0}}]
    a-first: [{{model: "a:m", weight: 1000000}}, {{model: "second:m", weight: 0}}]
  defaults:
    retry: {{max_retries: {retries}, base_delay_ms: 0, max_delay_ms: 1000}}
"""


@dataclass
class Reply:
    """One response. A piece of None breaks the connection there; `gate` is awaited before the last piece."""

    status: int = 200
    pieces: Sequence[bytes | None] = ()
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    gate: asyncio.Event | None = None


@dataclass
class Scripted:
    """The provider: its port, its replies, and the requests it has got."""

    replies: list[Reply] = field(default_factory=list)
    requests: list[Json] = field(default_factory=list)
    port: int = 0
    hosts: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next((int(line[15:]) for line in head.lower().split("\r\n") if line[:15] == "content-length:"), 0)
            raw = await reader.readexactly(length)
            path = head.split(" ")[1]
            self.requests.append({"__path": path, **(json.loads(raw) if raw else {})})
            await self._reply(writer, SECOND if path.startswith("/second") else self._next())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def _reply(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in reply.headers.items())]
        writer.write("\r\n".join([*lines, "transfer-encoding: chunked", "connection: close", "", ""]).encode())
        for number, piece in enumerate(reply.pieces):
            if reply.gate is not None and number == len(reply.pieces) - 1:
                await reply.gate.wait()
            if piece is None:
                await writer.drain()
                writer.transport.abort()
                return
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def sse(*events: Any) -> bytes:
    """Returns events: objects as their data, with an `event` line if they have a type; bytes as they are."""
    out = []
    for event in events:
        if isinstance(event, bytes):
            out.append(event)
        else:
            name = f"event: {event['type']}\n" if isinstance(event.get("type"), str) else ""
            out.append(f"{name}data: {json.dumps(event, separators=(',', ':'))}\n\n".encode())
    return b"".join(out)


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def chunk(delta: Json | None = None, finish: Any = None, **more: Any) -> Json:
    choice: Json = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


WHOLE: dict[str, Json] = {
    "chat": {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    },
    "responses": {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "error": None,
        "output": [
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}
        ],
        "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18},
    },
    "messages": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "stop_sequence": None, "content": [{"type": "text", "text": "Hi"}],
        "usage": {"input_tokens": 11, "output_tokens": 7},
    },
}  # fmt: skip
"""A complete response of each wire: the text "Hi", 11 tokens in and 7 out."""


def _responses_stream() -> list[Json]:
    response = WHOLE["responses"]
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    item = response["output"][0]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": empty},
        {"type": "response.output_text.delta", **place, "delta": "Hi", "logprobs": []},
        {"type": "response.output_text.done", **place, "text": "Hi", "logprobs": []},
        {"type": "response.content_part.done", **place, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


STREAM: dict[str, list[Any]] = {
    "chat": [
        chunk({"role": "assistant", "content": "Hi"}),
        chunk({}, "stop"),
        {**chunk(), "choices": [], "usage": WHOLE["chat"]["usage"]},
        b"data: [DONE]\n\n",
    ],
    "responses": _responses_stream(),
    "messages": [
        {"type": "message_start", "message": {**WHOLE["messages"], "content": [], "stop_reason": None,
                                              "usage": {"input_tokens": 11, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
         "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ],
}  # fmt: skip
"""The same response as a stream of each wire, as events."""

SECOND = Reply(pieces=[body(WHOLE["chat"])])
"""The answer of the provider `second`; as a stream it is read, too."""


def question(client: str, model: str, *, stream: bool = False, **more: Any) -> Json:
    """Returns a request in a client's dialect."""
    asked: Json = {"model": model, **({"stream": True} if stream else {}), **more}
    if client == "responses":
        return {"input": "Hello?", **asked}
    limit = {"max_tokens": 100} if client == "messages" else {}
    return {"messages": [{"role": "user", "content": "Hello?"}], **limit, **asked}


def configure(settings: Any, text: str) -> None:
    """Puts another configuration into force."""
    Path(settings.GATEWAY_CONFIG).write_text(text)
    MODELS.forget()


@asynccontextmanager
async def scripted(settings: Any, *replies: Reply, providers: str = "", retries: int = 0) -> AsyncIterator[Scripted]:
    """Serves the replies until the end of the block; the configuration names the provider."""
    provider = Scripted(list(replies))
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.port = server.sockets[0].getsockname()[1]
    configure(settings, CONFIG.format(url=provider.url, providers=providers, retries=retries))
    try:
        yield provider
    finally:
        server.close()
