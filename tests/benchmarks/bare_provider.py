"""A model provider as fast as Python allows: a raw protocol that serves chat completions, whole and streamed.

`python -m tests.benchmarks.bare_provider PORT`. A stream has EVENTS events, each written in an iteration of the loop of
its own; for the model `pace_acts` they are PACE_SECONDS apart, as from a real model. A stream of the model `long` has
LONG_EVENTS, one of `double` DOUBLE_EVENTS; one of the model `idle` stays open after its first event.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

EVENTS, DOUBLE_EVENTS, LONG_EVENTS = 100, 200, 500
PACE_SECONDS = 0.02
LENGTHS = {b'"model":"long"': LONG_EVENTS, b'"model":"double"': DOUBLE_EVENTS}
"""Events of a stream, by what its request has."""

CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)
LAST = CHUNK.replace(b'"finish_reason":null', b'"finish_reason":"stop"')
USAGE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":11,"completion_tokens":100,"total_tokens":111}}\n\n'
)
WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hello, world."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}'
)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def to_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENT = to_chunk(CHUNK)
END = to_chunk(LAST) + to_chunk(USAGE) + to_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    """One connection, with one request after the other."""

    def __init__(self) -> None:
        self.read = b""
        self.left = 0
        self.pace = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of classes of their own.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.read += data
        head, mark, body = self.read.partition(b"\r\n\r\n")
        if not mark:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            return
        self.read = body[length:]
        if b'"stream":true' not in body:  # GET /healthz too
            self.transport.write(ANSWER)
        elif b'"model":"idle"' in body:
            self.transport.write(STREAM + EVENT)
        else:
            self.transport.write(STREAM)
            self.left = next((count for mark, count in LENGTHS.items() if mark in body), EVENTS)
            self.pace = PACE_SECONDS if b'"model":"pace_acts"' in body else 0.0
            self.event()

    def event(self) -> None:
        if self.transport.is_closing():
            return
        self.left -= 1
        self.transport.write(EVENT if self.left else END)
        if self.left:
            asyncio.get_running_loop().call_later(self.pace, self.event)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
