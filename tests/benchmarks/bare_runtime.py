"""An agent runtime for benchmarks: it streams as many tokens as the prompt says, each the time at which it was sent.

The prompt is `COUNT PAUSE`: the pause between tokens in microseconds, 0 for none. It answers /healthz, too.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiohttp import web

TOKEN = b'data: {"type":"assistant_message","token":"%d ","is_final":false}\n\n'
END = b'data: {"type":"assistant_message","token":"","is_final":true}\n\n'


async def answer(request: web.Request) -> web.StreamResponse:
    count, pause = map(int, (await request.json())["content"].split())
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    loop = asyncio.get_running_loop()
    due = loop.time()
    for _ in range(count):
        if pause:
            due += pause / 1e6
            await asyncio.sleep(max(0.0, due - loop.time()))
        await response.write(TOKEN % time.perf_counter_ns())
    await response.write(END)
    return response


async def healthz(request: web.Request) -> web.Response:
    return web.Response(text="ok")


if __name__ == "__main__":
    application = web.Application()
    application.router.add_post("/agent/message/stream", answer)
    application.router.add_get("/healthz", healthz)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)
