"""A hot group: the time from emitting an event to its commit, for legs of several processes in one session group.

Every commit of such a leg moves the head of the group, a row that the processes need in turn. The reference is the same
legs without a group. Both are measured in turns, because a shared machine changes its speed. SQLite serves one process.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any

import django

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.serving import deployment
from tests.stack.deployment import Deployment
from tests.stack.process import ROOT

if TYPE_CHECKING:
    # Of the child only: the measuring process knows no Django settings.
    from events_app.leg_writer import LegWriter

PROCESSES, LEGS = 3, 20
EVENTS_PER_SECOND = 20
ROUNDS, SECONDS = 5, 4.0
WARM_SECONDS = 1.0
SHARE = 0.99
FIRST_GROUP = "new"


async def measure() -> AsyncIterator[Figure]:
    for distributed, count, name in ((False, 1, "SQLite"), (True, PROCESSES, "PostgreSQL")):
        with deployment(distributed=distributed) as state, ExitStack() as stack:
            if state is None:
                continue
            alone, together = await asyncio.to_thread(compare, state, count, stack)
        legs = f"{count} × {LEGS} legs, {name}"
        ratios = [percentile(b, SHARE) / percentile(a, SHARE) for a, b in zip(alone, together, strict=True)]
        every = [[value for values in phase for value in values] for phase in (alone, together)]
        for share in (0.5, SHARE):
            before, after = (percentile(values, share) for values in every)
            yield Figure(f"emit to commit in one group, {legs}, p{share * 100:.0f}", after, "ms", before, "no group")
        yield Figure("  p99 in turns, median of the ratios", statistics.median(ratios), "", None, "", 1.5)


def compare(state: Deployment, count: int, stack: ExitStack) -> tuple[list[list[float]], list[list[float]]]:
    """Returns the milliseconds of each round without and with a group."""
    children = [child(state, FIRST_GROUP, stack)]
    group = answer(children[0])["group"]
    children += [child(state, str(group), stack) for _ in range(count - 1)]
    for each in children[1:]:
        answer(each)
    phase(children, together=False, seconds=WARM_SECONDS)
    found: tuple[list[list[float]], list[list[float]]] = ([], [])
    for _ in range(ROUNDS):
        for together in (False, True):
            found[together].append(phase(children, together=together, seconds=SECONDS))
    return found


def phase(children: Sequence[subprocess.Popen[str]], *, together: bool, seconds: float) -> list[float]:
    for each in children:
        print(json.dumps([together, seconds]), file=pipe(each.stdin), flush=True)
    return [value for each in children for value in answer(each)["ms"]]


def child(state: Deployment, group: str, stack: ExitStack) -> subprocess.Popen[str]:
    environment = state.environment(0) | {"DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.hot_groups", group],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    return dict(json.loads(pipe(process.stdout).readline()))


def pipe(found: IO[str] | None) -> IO[str]:
    assert found is not None
    return found


class Timed:
    """Notes when the events of a writer were emitted, and how long each took to be committed."""

    def __init__(self, writer: LegWriter, milliseconds: list[float]) -> None:
        self._writer = writer
        self._milliseconds = milliseconds
        self._pending: list[float] = []
        self._taken: list[float] = []
        self._take, self._put_back, self._settle = writer.take, writer.put_back, writer.settle
        for name in ("take", "put_back", "settle"):
            setattr(writer, name, getattr(self, name))

    async def emit(self, event: Any) -> None:
        self._pending.append(time.perf_counter())
        await self._writer.emit(event)

    def take(self) -> Any:
        found = self._take()
        self._taken, self._pending = self._pending, []
        return found

    def put_back(self, events: Any) -> None:
        self._pending, self._taken = self._taken + self._pending, []
        self._put_back(events)

    def settle(self, failure: BaseException | None) -> None:
        assert failure is None, failure
        self._milliseconds += [(time.perf_counter() - since) * 1000 for since in self._taken]
        self._settle(failure)


async def legs(group: int) -> None:
    """Emits in phases, as the lines of standard input say."""
    from agents_app.events import MessageDelta
    from core_app import database
    from core_app.database import write_transaction
    from events_app.flusher import FLUSHER
    from events_app.hub import HUB
    from events_app.lease import lease_claim
    from events_app.log import stream_create

    def claim(parent: int | None) -> list[Any]:
        with write_transaction():
            streams = [stream_create(kind="session", parent_id=parent) for _ in range(LEGS)]
        return [lease_claim(stream_id=stream.pk, owner="bench", seconds=600) for stream in streams]

    await HUB.start()
    await FLUSHER.start()
    fences = [await database.run(claim, parent) for parent in (None, group)]
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        together, seconds = json.loads(line)
        found: list[float] = []

        async def leg(number: int, own: Any, until: float, found: list[float]) -> None:
            writer = FLUSHER.writer(own, f"run_01m7yjkx7r9zpa1fma044ep{number:03d}")
            timed = Timed(writer, found)
            await asyncio.sleep(number / LEGS / EVENTS_PER_SECOND)
            while loop.time() < until:
                await timed.emit(MessageDelta(message_id="msg_01m7yjkz1pfx5vtjxvwhecsc47", delta="a word "))
                await asyncio.sleep(1 / EVENTS_PER_SECOND)
            await writer.drain()

        until = loop.time() + seconds
        await asyncio.gather(*(leg(number, own, until, found) for number, own in enumerate(fences[together])))
        print(json.dumps({"ms": found}), flush=True)


def main() -> None:
    django.setup()
    from core_app.database import write_transaction
    from events_app.log import stream_create

    group = sys.argv[1]
    if group == FIRST_GROUP:
        from django.core.management import call_command

        call_command("migrate", interactive=False, verbosity=0)
        with write_transaction():
            group = str(stream_create(kind="group").pk)
    print(json.dumps({"group": int(group)}), flush=True)
    asyncio.run(legs(int(group)))


if __name__ == "__main__":
    main()
