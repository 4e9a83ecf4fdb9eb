"""The time from a start to the first response: on an empty directory, and on one that was served before."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import aiohttp

from tests.benchmarks.figures import Figure
from tests.benchmarks.serving import deployment, reference, running_server
from tests.stack.client import Client


async def measure() -> AsyncIterator[Figure]:
    with deployment() as state:
        assert state is not None
        found = []
        for _ in range(3):
            began = time.perf_counter()
            async with running_server(state) as server, aiohttp.ClientSession() as http:
                await Client(http, server.url).get("/v1/sessions")
                found.append(time.perf_counter() - began)
    began = time.perf_counter()
    async with reference("bare_drf"):
        beside = time.perf_counter() - began
    yield Figure("start to first answer, again", min(found[1:]), "s", beside, "bare Django REST", 3.0)
    yield Figure("start to first answer, first (migrations)", found[0], "s", beside, "bare Django REST", None)
