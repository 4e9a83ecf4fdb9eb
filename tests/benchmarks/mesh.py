"""The AgentMesh protocol: searches in a space of 100,000 messages, and 1,000 followers with filters.

The reference of a search is a scan of the same rows by LIKE. Followers are of 100 spaces, ten of each; a figure counts
the events that reached a follower of another space.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.readers import Reader, close, read
from tests.benchmarks.serving import deployment, running_server
from tests.stack.client import Client
from tests.stack.deployment import Deployment
from tests.stack.process import ROOT

MESSAGES = 100_000
FOLLOWERS = 1000
SPACES = 100
ROUNDS = 5
"""Messages per space."""

SEARCHES = {
    "a rare word": "needle50000",
    "a word of every message": "message",
    "three words": "message review database",
    "Chinese, four characters": "机器学习",
    "Chinese, one character": "查",
}
REPETITIONS = 7
PATIENCE = 120.0
CONNECTIONS = {
    "embedded": {},
    "PostgreSQL": {"DB_THREADS": "4", "ACTION_THREADS": "2", "REQUEST_THREADS": "8"},
}
_FRAME = re.compile(rb'"space_id":"([^"]+)","change":"message","message_id":"m-(\d+)"')


async def measure() -> AsyncIterator[Figure]:
    for title, settings in CONNECTIONS.items():
        with deployment(distributed=title != "embedded", **settings) as state:
            if state is None:
                continue
            async with running_server(state) as server, aiohttp.ClientSession() as http:
                client = Client(http, server.url)
                async for figure in searches(client, state, title):
                    yield figure
                async for figure in followers(client, title):
                    yield figure


async def searches(client: Client, state: Deployment, title: str) -> AsyncIterator[Figure]:
    space = str((await client.post("/spaces", {}, expect=201))["space_id"])
    await asyncio.to_thread(fill, state, space)
    for name, query in SEARCHES.items():
        path = f"/spaces/{space}/search?q={quote(query)}"
        assert (await client.get(path))["results"], query
        times = [await seconds_of(client, path) for _ in range(REPETITIONS)]
        beside = await asyncio.to_thread(scan_seconds, state, query)
        yield Figure(
            f"search in {MESSAGES:,} messages, {name}, {title}, the slowest of {REPETITIONS}",
            max(times) * 1000,
            "ms",
            beside * 1000,
            "scan by LIKE",
            1000,
        )


def fill(state: Deployment, space: str) -> None:
    """Adds the messages in a process with the deployment's settings."""
    environment = {**state.environment(0), "DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    command = [sys.executable, "-m", "tests.benchmarks.mesh_rows", space, str(MESSAGES)]
    subprocess.run(command, cwd=ROOT, env=environment | {"PATH": os.environ["PATH"]}, check=True)


async def seconds_of(client: Client, path: str) -> float:
    began = time.perf_counter()
    await client.get(path)
    return time.perf_counter() - began


def scan_seconds(state: Deployment, query: str) -> float:
    """Returns the time of a scan for the query's first word, without an index and without an order."""
    began = time.perf_counter()
    state.rows("SELECT COUNT(*) FROM mesh_spacemessage WHERE content LIKE ?", [f"%{query.split()[0]}%"])
    return time.perf_counter() - began


async def followers(client: Client, title: str) -> AsyncIterator[Figure]:
    spaces = [str((await client.post("/spaces", {}, expect=201))["space_id"]) for _ in range(SPACES)]
    few = await read(client.url, [f"/events?spaceId={space}" for space in spaces[:10]])
    beside, _, _ = await deliveries(client, spaces, few, 10)
    close(few)
    many = await read(client.url, [f"/events?spaceId={spaces[number % SPACES]}" for number in range(FOLLOWERS)])
    found, lost, foreign = await deliveries(client, spaces, many, SPACES)
    close(many)
    for share in (0.5, 0.99):
        yield Figure(
            f"message to its followers, 1,000 with filters, {title}, p{share * 100:.0f}",
            percentile(found, share),
            "ms",
            percentile(beside, share),
            "10 followers",
        )
    yield Figure(f"events lost of {FOLLOWERS * ROUNDS:,}, {title}", lost, "events", budget=0)
    yield Figure(f"events that passed another's filter, {title}", foreign, "events", budget=0)


async def deliveries(
    client: Client, spaces: list[str], readers: list[Reader], used: int
) -> tuple[list[float], int, int]:
    """Posts ROUNDS messages to each of the first `used` spaces; returns the latencies from the request on, and the
    numbers of events that did not arrive and that arrived at a follower of another space."""
    sent: dict[int, int] = {}
    for number in range(ROUNDS * used):
        sent[number] = time.monotonic_ns()
        body = {"id": f"m-{number}", "content": "hello"}
        await client.post(f"/spaces/{spaces[number % used]}/messages", body, expect=201)
    expected = len(readers) * ROUNDS
    until = time.perf_counter() + PATIENCE
    # The readers keep bytes only, and tell of nothing.
    while len(found := events_of(readers)) < expected and time.perf_counter() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    latencies = [(at - sent[number]) / 1e6 for _, _, number, at in found]
    foreign = sum(own != space for own, space, _, _ in found)
    return latencies, expected - (len(found) - foreign), foreign


def events_of(readers: list[Reader]) -> list[tuple[str, str, int, int]]:
    """Returns the follower's space, the event's space, the message's number and the time of each event."""
    return [
        (reader.path.rpartition("=")[2], space.decode(), int(number), at)
        for reader in readers
        for at, data in reader.chunks
        for space, number in _FRAME.findall(data)
    ]
