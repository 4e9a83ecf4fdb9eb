"""The reference for the model engine: the agent library's own loop, without sessions, log or clients.

`python -m tests.benchmarks.bare_loop PORT UPSTREAM_URL CALLBACK_URL`. GET /run?model=M&count=N runs N loops at once,
reads their events, and responds when the last has ended with the milliseconds to each first event; `echo` is a tool
that posts to the callback.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import uvicorn
from pydantic_ai import Agent, RunContext
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

UPSTREAM, CALLBACK = (sys.argv[2], sys.argv[3]) if len(sys.argv) > 3 else ("", "")
PROVIDER = OpenAIProvider(base_url=UPSTREAM or None, api_key="none")
AGENT: Agent[aiohttp.ClientSession, str] = Agent(deps_type=aiohttp.ClientSession)


@AGENT.tool
async def echo(context: RunContext[aiohttp.ClientSession], x: int) -> str:
    """Posts to the callback, as the gateway's tools do."""
    async with context.deps.post(CALLBACK, json={"x": x}, headers={"webhook-id": str(id(context))}) as answer:
        return str((await answer.json())["result"])


async def one(http: aiohttp.ClientSession, model: OpenAIChatModel, began: float) -> float:
    first = 0.0
    async with AGENT.iter("hello", model=model, deps=http) as run:
        async for node in run:
            if Agent.is_model_request_node(node):
                async with node.stream(run.ctx) as stream:
                    async for _ in stream:
                        first = first or time.monotonic() - began
    return first * 1000


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    first: list[float] = []
    if scope["path"] == "/run":
        began = time.monotonic()
        model = OpenAIChatModel(query["model"], provider=PROVIDER)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            first = await asyncio.gather(*(one(http, model, began) for _ in range(int(query["count"]))))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps({"first": first}).encode()})


if __name__ == "__main__":
    uvicorn.run(
        application, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off",
        access_log=False, log_level="error",
    )  # fmt: skip
