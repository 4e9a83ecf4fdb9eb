"""A provider and an MCP server that behave as badly as they can: `python -m tests.benchmarks.hostile_provider PORT`.

The model `poison` reports more tokens than any column holds, `failing` answers 500, `/mcp` accepts and is silent.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

SILENCE_SECONDS = 600.0
ANSWER = {"role": "assistant", "content": "Hello."}


async def complete(request: web.Request) -> web.Response:
    asked = await request.json()
    if asked["model"] == "failing":
        return web.json_response({"error": {"message": "out of order"}}, status=500)
    tokens = 2**63 if asked["model"] == "poison" else 7
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": tokens}
    choice = {"index": 0, "message": ANSWER, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return web.json_response(body)


async def be_silent(request: web.Request) -> web.Response:
    await asyncio.sleep(SILENCE_SECONDS)
    return web.Response()


async def healthz(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def main() -> None:
    application = web.Application()
    application.add_routes(
        [
            web.get("/healthz", healthz),
            web.post("/v1/chat/completions", complete),
            web.route("*", "/mcp", be_silent),
        ]
    )
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
