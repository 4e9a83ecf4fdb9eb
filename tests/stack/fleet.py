"""Two web processes, two workers and their Redis: a distributed deployment.

`heal` undoes what a test did to them, so that one fleet serves many faults, one after the other.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.stack.deployment import Deployment
from tests.stack.postgres_process import PostgresProcess
from tests.stack.process import GatewayProcess
from tests.stack.redis_process import RedisProcess

WORK = (sys.executable, "manage.py", "worker")
START_SECONDS = 180.0
"""Four processes import their libraries at once, on any machine."""

SETTINGS = {
    "RUNNER": "worker",
    "DRAIN_SECONDS": "1",
    # Counted in Redis, and never reached.
    "RATE_LIMIT_RPM": "10000000",
    # Thousands of clients on this machine stand for clients of as many addresses.
    "MAX_IDLE_CONNECTIONS": "20000",
    "MAX_IDLE_PER_ADDRESS": "20000",
    # Enough that faults alone end no run.
    "MAX_ATTEMPTS": "20",
    # Four processes share the hundred connections of a PostgreSQL as it is installed.
    "DB_THREADS": "4",
    "ACTION_THREADS": "2",
    "REQUEST_THREADS": "4",
}


class WorkerProcess(GatewayProcess):
    """A `manage.py worker`, with probes at its port."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        super().__init__(deployment, name, WORK)
        self.deployment = replace(deployment, settings={**deployment.settings, "WORKER_PORT": str(self.port)})


class Fleet:
    """The processes of one deployment; `postgres` is its own server, or the reason why it has none."""

    def __init__(self, deployment: Deployment, redis: RedisProcess, postgres: PostgresProcess | str) -> None:
        deployment = replace(deployment, redis_url=redis.url, settings={**SETTINGS, **deployment.settings})
        self.deployment = deployment
        self.redis = redis
        self.postgres = postgres
        self.webs = [GatewayProcess(deployment, f"web-{number}") for number in (1, 2)]
        self.workers: list[GatewayProcess] = [WorkerProcess(deployment, f"worker-{number}") for number in (1, 2)]

    @property
    def processes(self) -> Sequence[GatewayProcess]:
        return [*self.webs, *self.workers]

    async def heal(self) -> None:
        """Thaws frozen processes and starts dead ones, until all of them answer."""
        await self.redis_heal()
        if isinstance(self.postgres, PostgresProcess) and not self.postgres.alive:
            await asyncio.to_thread(self.postgres.start)
        # The first web process applies the migrations that workers wait for.
        first = self.webs[0]
        await self.revive(first)
        await asyncio.gather(*(self.revive(each) for each in self.processes if each is not first))

    async def redis_heal(self) -> None:
        """Thaws or starts Redis, until it answers."""
        if self.redis.alive:
            self.redis.signal(signal.SIGCONT)
        else:
            await self.redis.start()

    async def revive(self, process: GatewayProcess) -> None:
        """Thaws or starts the process, until it answers."""
        if process.alive:
            process.signal(signal.SIGCONT)
        else:
            await process.start(START_SECONDS)

    def held_by(self, worker: GatewayProcess) -> list[str]:
        """Returns the sessions whose lease the worker holds."""
        query = (
            "SELECT s.public_id FROM sessions_app_agentsession s JOIN events_app_stream e ON e.id = s.stream_id"
            " WHERE split_part(e.owner, ':', 2) = ?"
        )
        return [row[0] for row in self.deployment.rows(query, [str(worker.pid)])]

    def runs_of(self, worker: GatewayProcess) -> set[str]:
        """Returns the runs whose leg the worker runs."""
        query = (
            "SELECT r.id FROM sessions_app_run r JOIN sessions_app_agentsession s ON s.id = r.session_id"
            " JOIN events_app_stream e ON e.id = s.stream_id"
            " WHERE r.state = 'running' AND split_part(e.owner, ':', 2) = ?"
        )
        return {row[0] for row in self.deployment.rows(query, [str(worker.pid)])}

    def end(self) -> None:
        """Ends all processes."""
        for process in self.processes:
            process.end()
        self.redis.end()


def directory_made(stack: ExitStack) -> Path:
    """Creates a directory with `data` in it that PostgreSQL's user can reach too; removed when the stack ends."""
    directory = Path(tempfile.mkdtemp(prefix="gateway-fleet-"))
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)
    (directory / "data").mkdir()
    return directory
