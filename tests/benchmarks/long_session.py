"""A session of 2,000 turns with tools: its last hundred turns beside an early hundred.

Each prompt is two turns, one that calls a tool and one that answers, and the window of the model is full after about
sixty turns. The figures are the server's own processor time of a turn and the bytes of a model request.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.benchmarks.figures import Figure
from tests.benchmarks.model_engine import cost_of, upstream
from tests.benchmarks.serving import deployment, running_server
from tests.stack import callbacks as callback_server
from tests.stack.callbacks import callbacks_serving
from tests.stack.client import Client
from tests.stack.process import GatewayProcess

WINDOW = 8_000
"""Tokens."""

TURNS = 2_000
MEASURED = 100
EARLY = 100
"""The turn after which the early hundred begins."""

CONFIG = (
    'models: {{providers: {{scripted: {{base_url: "{url}", api_key: none, default_model: "tool:echo",'
    ' models: [{{id: "tool:echo", context_window: {window}}}]}}}}}}\n'
)
SESSION = "long"
FORGET_EVERY = 100
"""Prompts after which the provider forgets its requests, which it keeps in memory."""

TEXT = "Please look it up and tell me what you find. " * 12


@dataclass(frozen=True)
class Stretch:
    """Processor milliseconds of a turn, and the bytes of the largest model request."""

    milliseconds: float
    request_bytes: int


async def measure() -> AsyncIterator[Figure]:
    callback_server.SLOWEST_SECONDS = 0.0
    for distributed, name in ((False, "embedded"), (True, "PostgreSQL and Redis")):
        async with upstream() as url, callbacks_serving(random.Random(0)) as callbacks:
            with deployment(distributed=distributed) as state:
                if state is None:
                    continue
                config = Path(state.directory) / "bench.yaml"
                config.write_text(CONFIG.format(url=url, window=WINDOW))
                state.settings["CONFIG"] = str(config)
                async with running_server(state) as server, aiohttp.ClientSession() as http:
                    client = Client(http, server.url)
                    tools = [callbacks.registration("echo", idempotent=True)]
                    await client.create(SESSION, model="scripted:tool:echo", tools=tools)
                    long = LongSession(server, client, http, url.removesuffix("/v1"))
                    await long.run(EARLY)
                    early = await long.measured()
                    await long.run(TURNS - EARLY - 2 * MEASURED)
                    late = await long.measured()
        last = f"turns {TURNS - MEASURED} to {TURNS} of a session with tools, {name}"
        reference = f"turns {EARLY} to {EARLY + MEASURED}"
        yield Figure(f"{last}: a turn", late.milliseconds, "ms", early.milliseconds, reference)
        yield Figure("  the largest model request", late.request_bytes, "bytes", early.request_bytes, reference)


class LongSession:
    """The session, and the provider that counts what it is sent."""

    def __init__(self, server: GatewayProcess, client: Client, http: aiohttp.ClientSession, provider: str) -> None:
        self._server, self._client, self._http, self._provider = server, client, http, provider

    async def run(self, turns: int) -> None:
        """Sends prompts until the session has so many turns more."""
        for number in range(turns // 2):
            answer = await self._client.post(f"/v1/sessions/{SESSION}/prompt?wait=60", {"text": TEXT}, expect=200)
            assert answer["lastMessage"]["content"].startswith("Tools said"), answer
            if number % FORGET_EVERY == FORGET_EVERY - 1:
                await self._http.post(f"{self._provider}/reset")

    async def measured(self) -> Stretch:
        """Runs the measured turns."""
        await self._http.post(f"{self._provider}/reset")
        cost = await cost_of(self._server, lambda: self.run(MEASURED))
        async with self._http.get(f"{self._provider}/sizes") as response:
            sizes = await response.json()
        return Stretch(cost.processor / MEASURED * 1000, max(sizes))
