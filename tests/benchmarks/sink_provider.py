"""A model provider that reads a request of any size, keeps nothing of it and answers it on every wire.

`python -m tests.benchmarks.sink_provider PORT`; port 0 is any, and the port is printed.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

ANSWER = json.dumps(
    {
        "id": "x",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "status": "completed",
        "stop_reason": "end_turn",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "content": [{"type": "text", "text": "ok"}],
        "output": [],
        "data": [],
        "input_tokens": 1,
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Sink(asyncio.Protocol):
    """One connection, with one request after the other."""

    def __init__(self) -> None:
        self.head = b""
        self.left: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of classes of their own.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.left is None:
            self.head, mark, data = (self.head + data).partition(b"\r\n\r\n")
            if not mark:
                return
            length = LENGTH.search(self.head)
            self.left = int(length[1]) if length else 0
        self.left -= len(data)
        if self.left <= 0:
            self.head, self.left = b"", None
            self.transport.write(HEAD + ANSWER)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
