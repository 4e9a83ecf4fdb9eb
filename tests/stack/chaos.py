"""`python -m tests.stack.chaos`: random faults against a fleet under load, and a check of the laws at the end.

Faults occur for CHAOS_SECONDS (60), while CHAOS_SESSIONS (300) sessions always have prompts. Their model needs
CHAOS_DELAY_MS (250) for a word: 1,200 words a second leave two cores time for the faults. CHAOS_SEED repeats a sequence
of faults. PostgreSQL and Redis are the test's own; PostgreSQL is spared where it cannot be started.

CHAOS_FAULTS names the faults that occur (`kill,failover,disk_full`), by default all that this machine allows and the
time has room for; each one occurs before any occurs again. They are in `faults` (processes, Redis, clocks, clients) and
in `database_faults` (restart, failover, restore, full disk); what a fault needs (initdb, pg_dump, cc, root) is said
where it is missing.

A crowd of CHAOS_FOLLOWERS (1000) follows 20 more sessions, slow ones, over SSE. CHAOS_BUS_CLIENTS (20) Agentbus clients
follow five sessions each. CHAOS_REDIS_SECONDS (120) is how long `redis_away_long` lasts, CHAOS_RECONNECTS (10000) how
many clients `reconnect` lets come at once; at most as many as this process may open files, less 2,000: a limit
(`ulimit -n`) of 12,000 serves 10,000.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.__main__ import services_find
from tests.stack.callbacks import Callbacks, callbacks_serving
from tests.stack.crowd import Crowd, room
from tests.stack.database_faults import DATABASE_FAULTS
from tests.stack.deployment import Deployment, database_of_its_own
from tests.stack.faults import FAULTS, Fault, Scene
from tests.stack.fleet import Fleet, directory_made
from tests.stack.load import Load, Roamer
from tests.stack.postgres_process import PostgresMissing, PostgresProcess
from tests.stack.redis_process import RedisProcess
from tests.stack.shifted_clock import ClockMissing, ShiftedClock
from tests.stack.small_disk import DiskMissing, SmallDisk

PAUSE_SECONDS = (0.5, 5.0)
"""The pause between the end of one fault and the next."""

SETTLE_SECONDS = 300.0
CROWD_SESSIONS = 20
CROWD_DELAY_MS = 1000
"""The slowest that the demo model allows."""
BUS_SESSIONS = 5
POSTGRES_SETTINGS = {"max_wal_size": "128MB", "min_wal_size": "32MB", "wal_keep_size": "64MB"}
"""Its disk is memory, and a standby is made while it writes."""


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)


@dataclass(frozen=True)
class Plan:
    """The scale of a run, from the environment."""

    seconds: int = field(default_factory=lambda: _number("CHAOS_SECONDS", 60))
    sessions: int = field(default_factory=lambda: _number("CHAOS_SESSIONS", 300))
    delay_ms: int = field(default_factory=lambda: _number("CHAOS_DELAY_MS", 250))
    seed: int = field(default_factory=lambda: _number("CHAOS_SEED", secrets.randbits(32)))
    followers: int = field(default_factory=lambda: _number("CHAOS_FOLLOWERS", 1000))
    bus_clients: int = field(default_factory=lambda: _number("CHAOS_BUS_CLIENTS", 20))
    redis_seconds: int = field(default_factory=lambda: _number("CHAOS_REDIS_SECONDS", 120))
    reconnects: int = field(default_factory=lambda: _number("CHAOS_RECONNECTS", 10_000))
    faults: str = field(default_factory=lambda: os.environ.get("CHAOS_FAULTS", ""))

    def __str__(self) -> str:
        return " ".join(f"CHAOS_{name.upper()}={value}" for name, value in vars(self).items() if value != "")


class Chaos:
    """One sequence of faults, which the scene's chance alone decides."""

    def __init__(self, scene: Scene, faults: list[Fault]) -> None:
        self.counts: Counter[str] = Counter()
        self._scene = scene
        self._faults = faults
        self._began = time.monotonic()
        self._deck: list[Fault] = []

    async def run(self, seconds: float) -> None:
        """Causes faults until the time is over, and heals the fleet."""
        while time.monotonic() - self._began < seconds:
            await asyncio.sleep(self._scene.chance.uniform(*PAUSE_SECONDS))
            self._deck = self._deck or self._scene.chance.sample(self._faults, len(self._faults))
            fault = self._deck.pop()
            began = time.monotonic() - self._began
            told = await fault(self._scene)
            self.counts[fault.__name__] += 1
            print(f"{began:6.1f} s  {told} ({time.monotonic() - self._began - began:.1f} s)", flush=True)
        await self._scene.fleet.heal()


async def main(plan: Plan) -> None:
    """Runs the chaos and checks the laws; an AssertionError names the law that does not hold."""
    print(plan, flush=True)
    with ExitStack() as stack:
        directory = directory_made(stack)
        scene = _scene(directory, stack, plan)
        faults = _faults(scene, plan)
        stack.callback(scene.fleet.end)
        await scene.fleet.heal()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http,
            callbacks_serving(random.Random(plan.seed)) as callbacks,
        ):
            try:
                await _create(scene, plan, http, callbacks)
                await _disturb(Chaos(scene, faults), scene, plan.seconds)
                for load in scene.loads:
                    await load.finish(SETTLE_SECONDS)
                for load in scene.loads:
                    await load.check(scene.fleet.deployment)
            except BaseException:
                _keep_logs(directory)
                raise
            finally:
                await asyncio.gather(*(load.stop() for load in scene.loads))
    resets = sum(len(seen.resets) for load in scene.loads for each in load.seen.values() for seen in each)
    print(f"every law holds (seed {plan.seed}); {resets} resets were told, all of them true")


async def _create(scene: Scene, plan: Plan, http: aiohttp.ClientSession, callbacks: Callbacks) -> None:
    """Creates the sessions and their clients."""
    urls = [web.url for web in scene.fleet.webs]
    for prefix, sessions, delay_ms in (
        ("chaos", plan.sessions, plan.delay_ms),
        ("crowd", CROWD_SESSIONS, CROWD_DELAY_MS),
    ):
        load = Load(Roamer(http, urls, random.Random(f"{prefix}-{plan.seed}")), callbacks, prefix)
        scene.loads.append(load)
        await load.create(sessions, delay_ms)
        load.follow_by_bus(plan.bus_clients, BUS_SESSIONS)
    scene.crowd = Crowd(scene.loads[1], random.Random(plan.seed))
    scene.crowd.follow(min(plan.followers, room()))


async def _disturb(chaos: Chaos, scene: Scene, seconds: float) -> None:
    async def keep_prompting(load: Load) -> None:
        while True:
            await load.keep_busy()
            await asyncio.sleep(0.2)

    working = [asyncio.create_task(keep_prompting(load)) for load in scene.loads]
    try:
        await chaos.run(seconds)
    finally:
        for task in working:
            task.cancel()
        await asyncio.wait(working)
    for task in working:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise AssertionError("the load came to a stop") from error
    prompts = sum(len(runs) for load in scene.loads for runs in load.accepted.values())
    lost = sum(load.uncertain for load in scene.loads)
    unanswered = sum(load.unanswered for load in scene.loads)
    print(f"{prompts} prompts accepted, {lost} more that a copy may lack, {unanswered} without an answer", flush=True)
    print(f"faults: {dict(chaos.counts)}", flush=True)


def _faults(scene: Scene, plan: Plan) -> list[Fault]:
    """Returns the faults of the plan, or all that are possible; says which are not."""
    known = {**FAULTS, **DATABASE_FAULTS}
    missing = {name: fault.lacks(scene) for name, fault in known.items()}
    for name, reason in missing.items():
        if reason:
            print(f"without {name}: {reason}", flush=True)
    wanted = [name.strip() for name in plan.faults.split(",") if name.strip()]
    if unknown := set(wanted) - set(known):
        sys.exit(f"CHAOS_FAULTS: {', '.join(sorted(unknown))} is not one of {', '.join(known)}.")
    chosen = wanted or [name for name, fault in known.items() if fault.seconds(scene) * 3 <= plan.seconds]
    found = [known[name] for name in chosen if not missing[name]]
    return found or sys.exit("CHAOS_FAULTS: none of them is possible here.")


def _scene(directory: Path, stack: ExitStack, plan: Plan) -> Scene:
    lacks: dict[str, str] = {}
    clock: ShiftedClock | None = None
    disk: SmallDisk | None = None
    try:
        clock = ShiftedClock(directory)
    except ClockMissing as missing:
        lacks["clock"] = str(missing)
    try:
        disk = SmallDisk(directory)
        stack.callback(disk.end)
    except DiskMissing as missing:
        lacks["disk"] = str(missing)
    volume = disk.directory if disk else directory
    fleet = _fleet(directory, volume, stack)
    reconnects = min(plan.reconnects, room())
    return Scene(fleet, random.Random(plan.seed), directory, volume, clock, disk, lacks, plan.redis_seconds, reconnects)


def _fleet(directory: Path, disk: Path, stack: ExitStack) -> Fleet:
    redis = RedisProcess(directory)
    try:
        postgres = PostgresProcess(disk, settings=POSTGRES_SETTINGS)
    except PostgresMissing as missing:
        print(f"{missing} Faults spare PostgreSQL.")
        services, absent = services_find(os.environ)
        if not services:
            sys.exit(f"Chaos needs a database: {absent}.")
        url = stack.enter_context(database_of_its_own(services["GATEWAY_TEST_DATABASE_URL"]))
        return Fleet(Deployment(directory / "data", url), redis, str(missing))
    postgres.start()
    fleet = Fleet(Deployment(directory / "data", postgres.create_database("gateway")), redis, postgres)
    stack.callback(_end_postgres, fleet)
    return fleet


def _end_postgres(fleet: Fleet) -> None:
    """Ends the server that the fleet has by then."""
    if isinstance(fleet.postgres, PostgresProcess):
        fleet.postgres.end()


def _keep_logs(directory: Path) -> None:
    kept = Path(tempfile.mkdtemp(prefix="gateway-chaos-logs-"))
    for log in [*directory.glob("*.log"), *directory.rglob("postgresql.log")]:
        shutil.copy(log, kept / f"{log.parent.parent.name}-{log.name}")
    print(f"the processes' logs are kept in {kept}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Plan()))
