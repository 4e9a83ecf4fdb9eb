"""`python -m tests.stack.chaos`: every fault at random against a fleet under load, and the laws at the end.

CHAOS_SECONDS (60) is how long faults come, CHAOS_SESSIONS (300) how many sessions have work all the time,
CHAOS_DELAY_MS (250) how long their model takes for a word: 1,200 words a second leave two cores time for the faults.
CHAOS_SEED repeats a sequence of faults. PostgreSQL and Redis are its own; where the first cannot be started, faults
spare it.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import aiohttp

from tests.__main__ import services_find
from tests.stack.callbacks import callbacks_serving
from tests.stack.deployment import Deployment, database_of_its_own
from tests.stack.fleet import Fleet, directory_made
from tests.stack.load import Load, Roamer
from tests.stack.postgres_process import PostgresMissing, PostgresProcess
from tests.stack.redis_process import RedisProcess

PAUSE_SECONDS = (0.5, 5.0)
"""Between the end of one fault and the next."""

REDIS_GONE_SECONDS = (0.0, 30.0)
FROZEN_SECONDS = (0.2, 8.0)
SETTLE_SECONDS = 300.0


class Chaos:
    """One sequence of faults, decided by `chance` alone."""

    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._fleet = fleet
        self._chance = chance
        self._began = time.monotonic()
        self._faults: list[Callable[[], Awaitable[str]]] = [self.kill, self.kill, self.restart, self.freeze]
        self._faults += [self.redis_away, self.redis_frozen]
        if isinstance(fleet.postgres, PostgresProcess):
            self._faults.append(self.postgres_restart)

    async def run(self, seconds: float) -> None:
        """Faults until the time is over; everything runs again afterwards."""
        while time.monotonic() - self._began < seconds:
            await asyncio.sleep(self._chance.uniform(*PAUSE_SECONDS))
            fault = self._chance.choice(self._faults)
            told = await fault()
            self.counts[fault.__name__] += 1
            print(f"{time.monotonic() - self._began:6.1f} s  {told}", flush=True)
        await self._fleet.heal()

    async def kill(self) -> str:
        """`kill -9` of a web process or a worker."""
        process = self._chance.choice(self._fleet.processes)
        await process.kill()
        await self._fleet.revive(process)
        return f"killed {process.log_path.stem}"

    async def restart(self) -> str:
        """SIGTERM, as a deploy does it."""
        process = self._chance.choice(self._fleet.processes)
        process.signal(signal.SIGTERM)
        code = await process.wait_exit()
        assert code == 0, f"{process.log_path.stem} ended with {code}: {process.output()[-2000:]}"
        await self._fleet.revive(process)
        return f"restarted {process.log_path.stem}"

    async def freeze(self) -> str:
        """SIGSTOP, for shorter or longer than a lease."""
        process, seconds = self._chance.choice(self._fleet.processes), self._chance.uniform(*FROZEN_SECONDS)
        process.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.signal(signal.SIGCONT)
        return f"froze {process.log_path.stem} for {seconds:.1f} s"

    async def redis_away(self) -> str:
        """Redis restarted at once, or gone for a while."""
        seconds = self._chance.choice([0.0, self._chance.uniform(*REDIS_GONE_SECONDS)])
        self._fleet.redis.end()
        await asyncio.sleep(seconds)
        await self._fleet.redis_heal()
        return f"Redis was gone for {seconds:.1f} s"

    async def redis_frozen(self) -> str:
        """A Redis that takes connections and answers nothing."""
        seconds = self._chance.uniform(*FROZEN_SECONDS)
        self._fleet.redis.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        await self._fleet.redis_heal()
        return f"Redis was frozen for {seconds:.1f} s"

    async def postgres_restart(self) -> str:
        """An orderly restart or a crash."""
        postgres = self._fleet.postgres
        assert isinstance(postgres, PostgresProcess)
        mode = self._chance.choice(["fast", "immediate"])
        await asyncio.to_thread(postgres.stop, mode)
        await asyncio.sleep(self._chance.uniform(0, 2))
        await asyncio.to_thread(postgres.start)
        return f"PostgreSQL was restarted ({mode})"


async def main(seconds: float, sessions: int, delay_ms: int, seed: int) -> None:
    """Chaos, then the laws; an AssertionError says which does not hold."""
    scale = f"CHAOS_SESSIONS={sessions} CHAOS_DELAY_MS={delay_ms}"
    print(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:.0f} {scale}", flush=True)
    with ExitStack() as stack:
        directory = directory_made(stack)
        fleet = _fleet(directory, stack)
        stack.callback(fleet.end)
        await fleet.heal()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http,
            callbacks_serving(random.Random(seed)) as callbacks,
        ):
            load = Load(Roamer(http, [web.url for web in fleet.webs], random.Random(seed)), callbacks, "chaos")
            try:
                await load.create(sessions, delay_ms)
                await _disturb(Chaos(fleet, random.Random(seed)), load, seconds)
                await load.finish(SETTLE_SECONDS)
                await load.check(fleet.deployment)
            except BaseException:
                _keep_logs(directory)
                raise
            finally:
                await load.stop()
    print(f"every law holds (seed {seed})")


async def _disturb(chaos: Chaos, load: Load, seconds: float) -> None:
    async def keep_prompting() -> None:
        while True:
            await load.keep_busy()
            await asyncio.sleep(0.2)

    working = asyncio.create_task(keep_prompting())
    try:
        await chaos.run(seconds)
    finally:
        working.cancel()
        await asyncio.wait([working])
    if not working.cancelled() and working.exception() is not None:
        raise AssertionError("the load came to a stop") from working.exception()
    prompts = sum(map(len, load.accepted.values()))
    print(f"{prompts} prompts accepted, {load.unanswered} without an answer; faults: {dict(chaos.counts)}", flush=True)


def _fleet(directory: Path, stack: ExitStack) -> Fleet:
    redis = RedisProcess(directory)
    try:
        postgres = PostgresProcess(directory)
    except PostgresMissing as missing:
        print(f"{missing} Faults spare PostgreSQL.")
        services, absent = services_find(os.environ)
        if not services:
            sys.exit(f"Chaos needs a database: {absent}.")
        url = stack.enter_context(database_of_its_own(services["GATEWAY_TEST_DATABASE_URL"]))
        return Fleet(Deployment(directory / "data", url), redis, str(missing))
    stack.callback(postgres.end)
    postgres.start()
    return Fleet(Deployment(directory / "data", postgres.url), redis, postgres)


def _keep_logs(directory: Path) -> None:
    kept = Path(tempfile.mkdtemp(prefix="gateway-chaos-logs-"))
    for log in directory.glob("*.log"):
        shutil.copy(log, kept)
    print(f"the processes' logs are kept in {kept}", flush=True)


if __name__ == "__main__":
    asyncio.run(
        main(
            float(os.environ.get("CHAOS_SECONDS", "60")),
            int(os.environ.get("CHAOS_SESSIONS", "300")),
            int(os.environ.get("CHAOS_DELAY_MS", "250")),
            int(os.environ.get("CHAOS_SEED") or secrets.randbits(32)),
        )
    )
