"""Group commit: 200 legs that emit as fast as the log accepts events, beside bare inserts of the same rows.

The child (`python -m tests.benchmarks.group_commit`) has a hub and a flusher and no server; every event passes a leg's
writer with its fence. The reference inserts prepared rows, in batches of the flusher's size.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import django

from tests.benchmarks.figures import Figure
from tests.benchmarks.serving import deployment, pin_command
from tests.stack.deployment import Deployment
from tests.stack.process import ROOT

if TYPE_CHECKING:
    # Of the child only: the measuring process knows no Django settings.
    from events_app.lease import Fence

STREAMS = 200
ROUNDS = 30
EVENTS = 10
"""Events that a leg emits before it waits for their commit, as at a checkpoint."""


async def measure() -> AsyncIterator[Figure]:
    for distributed, name, budget in ((False, "SQLite", 20_000), (True, "PostgreSQL", 15_000)):
        with deployment(distributed=distributed) as state:
            if state is None:
                continue
            found = await asyncio.to_thread(child, state)
        yield Figure(
            f"group commit, {name} ({found['batch']:.0f} events a commit)",
            found["events"],
            "events/s",
            found["bare"],
            "the same rows, bare",
            budget,
            "higher",
        )


def child(state: Deployment) -> dict[str, float]:
    command = [*pin_command(0), sys.executable, "-m", "tests.benchmarks.group_commit"]
    environment = state.environment(0) | {"DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


async def machinery() -> tuple[float, float]:
    """Returns events per second through the flusher, and events per commit."""
    from agents_app.events import MessageDelta
    from events_app.flusher import FLUSHER
    from events_app.hub import HUB

    await HUB.start()
    await FLUSHER.start()
    fences = await asyncio.to_thread(fences_claim)
    words = [MessageDelta(message_id=f"msg_01m7yjkz1pfx5vtjxvwhecsc4{n}", delta="a word ") for n in range(2)]

    async def leg(number: int) -> None:
        writer = FLUSHER.writer(fences[number], f"run_01m7yjkx7r9zpa1fma044ep{number:03d}")
        for _ in range(ROUNDS):
            for event in range(EVENTS):
                await writer.emit(words[event % 2])
            await writer.drain()

    began = time.perf_counter()
    await asyncio.gather(*map(leg, range(STREAMS)))
    seconds = time.perf_counter() - began
    assert FLUSHER.committed_events == STREAMS * ROUNDS * EVENTS
    await FLUSHER.stop()
    await HUB.stop()
    return FLUSHER.committed_events / seconds, FLUSHER.committed_events / FLUSHER.commits


def fences_claim() -> list[Fence]:
    from core_app.database import write_transaction
    from events_app.lease import lease_claim
    from events_app.log import stream_create

    with write_transaction():
        streams = [stream_create(kind="session") for _ in range(STREAMS)]
    claimed = [lease_claim(stream_id=stream.pk, owner="bench", seconds=600) for stream in streams]
    return [fence for fence in claimed if fence is not None]


def bare_inserts(batch: int) -> float:
    """Returns rows per second by the statement alone."""
    from core_app.database import write_transaction
    from events_app.bulk_insert import Row, insert

    data = (
        '{"messageId":"msg_01m7yjkz1pfx5vtjxvwhecsc47","delta":"a word ",'
        '"requestId":"run_01m7yjkx7r9zpa1fma044eptmz","at":"2026-01-01T00:00:00.000Z"}'
    )
    commits = max(1, STREAMS * ROUNDS * EVENTS // batch)
    rows = [
        [
            Row(
                10_000 + n % STREAMS, c * batch + n, "message_delta", "run_01m7yjkx7r9zpa1fma044eptmz", data, None, None
            )
            for n in range(batch)
        ]
        for c in range(commits)
    ]
    began = time.perf_counter()
    for each in rows:
        with write_transaction():
            insert(each)
    return commits * batch / (time.perf_counter() - began)


def main() -> None:
    django.setup()
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    events, batch = asyncio.run(machinery())
    print(json.dumps({"events": events, "batch": batch, "bare": bare_inserts(round(batch))}), flush=True)


if __name__ == "__main__":
    main()
