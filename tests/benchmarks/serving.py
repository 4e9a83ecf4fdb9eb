"""The servers that benchmarks measure, each pinned to one core, with the measuring process on the other.

The gateway is a real `manage.py serve`, or one whose demo engine emits the time as text; a reference is a module of
this package that serves at a port.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil

from tests.__main__ import services_find
from tests.stack.deployment import Deployment, database_of_its_own
from tests.stack.process import SERVE, GatewayProcess

STAMPED = (sys.executable, "-m", "tests.benchmarks.stamped_serve")


def pin_command(core: int) -> tuple[str, ...]:
    """Returns the prefix that pins a command to one core; empty where that is impossible."""
    if shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        return ()
    return ("taskset", "-c", str(core))


def machine_prepare() -> None:
    """Pins this process to the second core, and raises the limit of open files for it and its children."""
    if pin_command(1):
        os.sched_setaffinity(0, {1})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def deployment(*, distributed: bool = False, **settings: str) -> Iterator[Deployment | None]:
    """Yields an empty state; None when PostgreSQL and Redis are required and do not answer."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as directory:
        data = Path(directory) / "data"
        data.mkdir()
        values = {"LOG_LEVEL": "ERROR", "LEASE_SECONDS": "10", "SWEEP_SECONDS": "2", **settings}
        if not distributed:
            yield Deployment(data, settings=values)
            return
        services, missing = services_find(os.environ)
        if missing:
            print(f"  skipped: {missing}", flush=True)
            yield None
            return
        with database_of_its_own(services["GATEWAY_TEST_DATABASE_URL"]) as url:
            yield Deployment(data, url, services["GATEWAY_TEST_REDIS_URL"], values)


@asynccontextmanager
async def running_server(
    state: Deployment, command: tuple[str, ...] = SERVE, core: int | None = 0
) -> AsyncIterator[GatewayProcess]:
    """Starts a server on `core` and waits until it answers."""
    process = GatewayProcess(state, command=(*(pin_command(core) if core is not None else ()), *command))
    try:
        await process.start()
        yield process
    finally:
        await asyncio.to_thread(process.end)


@asynccontextmanager
async def reference(module: str, *arguments: str, core: int | None = 0) -> AsyncIterator[GatewayProcess]:
    """Starts a reference server, `python -m tests.benchmarks.<module> PORT arguments…`, which has /healthz."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as directory:
        data = Path(directory) / "data"
        data.mkdir()
        process = GatewayProcess(Deployment(data), "reference")
        prefix = pin_command(core) if core is not None else ()
        process.command = (*prefix, sys.executable, "-m", f"tests.benchmarks.{module}", str(process.port), *arguments)
        try:
            await process.start()
            yield process
        finally:
            await asyncio.to_thread(process.end)


def resident_kib(process: GatewayProcess) -> float:
    """Returns the resident memory of the process, in KiB."""
    return float(psutil.Process(process.pid).memory_info().rss) / 1024
