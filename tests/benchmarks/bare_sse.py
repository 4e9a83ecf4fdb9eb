"""The reference for streams: a bare ASGI application under uvicorn that sends the gateway's frames.

/stream?count=N&pause=MS streams stamped words at that rate; /idle sends nothing; /broadcast waits for N followers and
sends all of them the same frames as fast as it can; it has /healthz.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any
from urllib.parse import parse_qs

import uvicorn

HEADERS = [(b"content-type", b"text/event-stream")]
FRAME = (
    b'id: %d\nevent: %b\ndata: {"messageId":"msg_01m7yjkz1pfx5vtjxvwhecsc47","delta":"%d ",'
    b'"requestId":"run_01m7yjkx7r9zpa1fma044eptmz","at":"2026-01-01T00:00:00.000Z"}\n\n'
)
FOLLOWERS: list[asyncio.Queue[bytes]] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    await receive()
    query = {name: int(values[0]) for name, values in parse_qs(scope["query_string"].decode()).items()}
    if scope["path"] == "/healthz":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
    if scope["path"] == "/idle":
        await receive()
    elif scope["path"] == "/broadcast":
        await send_broadcast(send, query["followers"], query["count"])
    else:
        await send_stream(send, query["count"], query["pause"] / 1000)


async def send_stream(send: Any, count: int, pause: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for number in range(count):
        due += pause
        await asyncio.sleep(max(0.0, due - loop.time()))
        body = frame(number, count)
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def send_broadcast(send: Any, followers: int, count: int) -> None:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    FOLLOWERS.append(queue)
    if len(FOLLOWERS) == followers:
        asyncio.get_running_loop().create_task(broadcast(count)).add_done_callback(lambda task: task.result())
    for _ in range(count):
        await send({"type": "http.response.body", "body": await queue.get(), "more_body": True})


async def broadcast(count: int) -> None:
    for number in range(count):
        body = frame(number, count)
        for queue in FOLLOWERS:
            queue.put_nowait(body)
        await asyncio.sleep(0)


def frame(number: int, count: int) -> bytes:
    last = number == count - 1
    return FRAME % (number + 1, b"agent_end" if last else b"message_delta", time.monotonic_ns())


if __name__ == "__main__":
    uvicorn.run(
        application, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off",
        access_log=False, log_level="error", backlog=2048,
    )  # fmt: skip
