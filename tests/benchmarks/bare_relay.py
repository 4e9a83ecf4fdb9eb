"""The reference for the relay: bare ASGI under uvicorn and aiohttp, which pass bytes on and nothing else.

`python -m tests.benchmarks.bare_relay PORT URL` relays every POST to URL; it has /healthz.
"""

from __future__ import annotations

import sys
from typing import Any

import aiohttp
import uvicorn

SESSION: list[aiohttp.ClientSession] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if scope["path"] == "/healthz":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if not SESSION:
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=0)
        SESSION.append(aiohttp.ClientSession(connector=connector, auto_decompress=False))
    headers = {"content-type": "application/json"}
    async with SESSION[0].post(sys.argv[2], data=body, headers=headers) as answer:
        kind = answer.headers["content-type"].encode()
        await send({"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", kind)]})
        if b"event-stream" in kind:
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": await answer.read()})


if __name__ == "__main__":
    uvicorn.run(
        application, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off",
        access_log=False, log_level="error", backlog=2048,
    )  # fmt: skip
