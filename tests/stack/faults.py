"""Faults of processes, of Redis, of a clock and of clients, for `chaos`.

A fault happens to the scene, undoes itself, and says what it was. It lacks nothing, or says what this machine lacks.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.stack.bus_reader import BusReader
from tests.stack.crowd import Crowd
from tests.stack.fleet import Fleet
from tests.stack.load import Load
from tests.stack.postgres_process import PostgresProcess
from tests.stack.process import GatewayProcess
from tests.stack.reader import Reader
from tests.stack.shifted_clock import ShiftedClock
from tests.stack.small_disk import SmallDisk

REDIS_GONE_SECONDS = (0.0, 30.0)
FROZEN_SECONDS = (0.2, 8.0)
LEASES = (2.0, 6.0)
"""The time for which a process that loses its sessions is frozen, in leases."""

CLOCK_OFF_SECONDS = (2, 60, 3600, 86_400 * 3)
SLEEPERS = 0.3
"""The share of clients that are not connected while the database goes back in time."""


@dataclass
class Scene:
    """Everything that faults happen to. `lacks` has, by the name of a means, the reason why it is missing here."""

    fleet: Fleet
    chance: random.Random
    directory: Path
    volume: Path
    """The directory for PostgreSQL's clusters: the small disk, where there is one."""
    clock: ShiftedClock | None
    disk: SmallDisk | None
    lacks: dict[str, str]
    redis_seconds: float
    reconnects: int
    loads: list[Load] = field(default_factory=list)
    crowd: Crowd | None = None
    copies: int = 0

    @property
    def postgres(self) -> PostgresProcess:
        assert isinstance(self.fleet.postgres, PostgresProcess)
        return self.fleet.postgres

    @contextmanager
    def some_sleep(self) -> Iterator[None]:
        """Disconnects some clients, which come back at the end."""
        sleepers: list[Reader | BusReader] = [
            follower for load in self.loads for follower in load.followers if self.chance.random() < SLEEPERS
        ]
        for follower in sleepers:
            follower.sleeps()
        try:
            yield
        finally:
            for follower in sleepers:
                follower.wakes()


@dataclass(frozen=True)
class Fault:
    """A fault by its name; `seconds` says how long it takes at least, `lacks` what it needs and does not find here."""

    happen: Callable[[Scene], Awaitable[str]]
    lacks: Callable[[Scene], str] = lambda scene: ""
    seconds: Callable[[Scene], float] = lambda scene: 0.0

    @property
    def __name__(self) -> str:
        return self.happen.__name__

    def __call__(self, scene: Scene) -> Awaitable[str]:
        return self.happen(scene)


def by_name(faults: Iterable[Fault]) -> dict[str, Fault]:
    return {fault.__name__: fault for fault in faults}


async def kill(scene: Scene) -> str:
    """Sends SIGKILL to a web process or a worker."""
    process = scene.chance.choice(scene.fleet.processes)
    await process.kill()
    await scene.fleet.revive(process)
    return f"killed {process.log_path.stem}"


async def restart(scene: Scene) -> str:
    """Stops a process with SIGTERM, as a deployment does, and starts it again."""
    process = scene.chance.choice(scene.fleet.processes)
    await _stop(process)
    await scene.fleet.revive(process)
    return f"restarted {process.log_path.stem}"


async def freeze(scene: Scene) -> str:
    """Freezes a process with SIGSTOP, for less or more than a lease."""
    process, seconds = scene.chance.choice(scene.fleet.processes), scene.chance.uniform(*FROZEN_SECONDS)
    await _freeze([process], seconds)
    return f"froze {process.log_path.stem} for {seconds:.1f} s"


async def freeze_past_lease(scene: Scene) -> str:
    """Freezes one worker, or all of them, until others may have its sessions and perhaps have ended their runs."""
    workers = scene.chance.sample(scene.fleet.workers, scene.chance.choice([1, len(scene.fleet.workers)]))
    seconds = scene.chance.uniform(*LEASES) * scene.fleet.deployment.lease_seconds
    await _freeze(workers, seconds)
    return f"froze {', '.join(worker.log_path.stem for worker in workers)} for {seconds:.1f} s"


async def skew_clock(scene: Scene) -> str:
    """Restarts a worker with a clock that is seconds to days off, which it keeps until its clock is skewed again."""
    assert scene.clock is not None
    worker = scene.chance.choice(scene.fleet.workers)
    seconds = scene.chance.choice(CLOCK_OFF_SECONDS) * scene.chance.choice([-1, 1])
    await _stop(worker)
    worker.variables = scene.clock.variables(seconds)
    await scene.fleet.revive(worker)
    return f"the clock of {worker.log_path.stem} is off by {seconds:+} s"


async def redis_away(scene: Scene) -> str:
    """Kills Redis, and starts it at once or after a while."""
    seconds = scene.chance.choice([0.0, scene.chance.uniform(*REDIS_GONE_SECONDS)])
    return await _redis_gone(scene, seconds)


async def redis_away_long(scene: Scene) -> str:
    """Kills Redis for minutes, under all followers."""
    return await _redis_gone(scene, scene.redis_seconds)


async def redis_frozen(scene: Scene) -> str:
    """Freezes Redis, which then accepts connections and answers nothing."""
    seconds = scene.chance.uniform(*FROZEN_SECONDS)
    scene.fleet.redis.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    await scene.fleet.redis_heal()
    return f"Redis was frozen for {seconds:.1f} s"


async def reconnect(scene: Scene) -> str:
    """Lets thousands of clients reconnect at the same moment."""
    assert scene.crowd is not None
    outcomes = await scene.crowd.reconnect(scene.reconnects)
    return f"{scene.reconnects} clients reconnected at once: {dict(outcomes)}"


async def _redis_gone(scene: Scene, seconds: float) -> str:
    scene.fleet.redis.end()
    await asyncio.sleep(seconds)
    await scene.fleet.redis_heal()
    return f"Redis was gone for {seconds:.1f} s"


async def _freeze(processes: Iterable[GatewayProcess], seconds: float) -> None:
    for process in processes:
        process.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    for process in processes:
        process.signal(signal.SIGCONT)


async def _stop(process: GatewayProcess) -> None:
    process.signal(signal.SIGTERM)
    code = await process.wait_exit()
    assert code == 0, f"{process.log_path.stem} ended with {code}: {process.output()[-2000:]}"


FAULTS = by_name(
    [
        Fault(kill),
        Fault(restart),
        Fault(freeze),
        Fault(freeze_past_lease),
        Fault(skew_clock, lacks=lambda scene: scene.lacks.get("clock", "")),
        Fault(redis_away),
        Fault(redis_away_long, seconds=lambda scene: scene.redis_seconds),
        Fault(redis_frozen),
        Fault(reconnect, lacks=lambda scene: "" if scene.reconnects else "No file descriptors are left for clients."),
    ]
)
