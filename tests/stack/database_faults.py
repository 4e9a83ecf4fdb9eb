"""Faults of PostgreSQL for `chaos`: restart, full disk, and those after which it has gone back in time.

The database loses what was committed between a moment that is known (the promise) and the end of the fault. Clients
are told by the gateway; the load forgets what may be lost and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import psycopg

from tests.stack.client import until
from tests.stack.deployment import exchange_databases
from tests.stack.faults import Fault, Scene, by_name
from tests.stack.load import Promise
from tests.stack.postgres_process import PostgresProcess

LOST_SECONDS = (0.2, 4.0)
"""The seconds that the gateway goes on after the copy was made; what it writes then is lost."""

FULL_SECONDS = (1.0, 10.0)
CATCH_UP_SECONDS = 60
DUMP_SECONDS = 300
COPY = "gateway_copy"


async def postgres_restart(scene: Scene) -> str:
    """Restarts PostgreSQL after a fast shutdown or a crash."""
    mode = scene.chance.choice(["fast", "immediate"])
    await asyncio.to_thread(scene.postgres.stop, mode)
    await asyncio.sleep(scene.chance.uniform(0, 2))
    await asyncio.to_thread(scene.postgres.start)
    return f"PostgreSQL was restarted ({mode})"


async def failover(scene: Scene) -> str:
    """Promotes an asynchronous standby that has not received everything when the primary crashes."""
    primary, seconds = scene.postgres, scene.chance.uniform(*LOST_SECONDS)
    standby = await asyncio.to_thread(_copy, scene, follows=True)
    await asyncio.to_thread(standby.start)
    with scene.some_sleep():
        promises = _promise(scene)
        received = lambda: asyncio.to_thread(standby.has_received_all, primary)  # noqa: E731
        await until(received, CATCH_UP_SECONDS, "the standby has received everything")
        await asyncio.to_thread(standby.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(primary.stop, "immediate")
        await asyncio.to_thread(standby.take_over, primary)
        _replace(scene, standby, promises)
        await asyncio.sleep(scene.chance.uniform(0, seconds))
    return f"PostgreSQL failed over to a standby that was {seconds:.1f} s behind"


async def restore_base(scene: Scene) -> str:
    """Puts a base backup in the place of the server."""
    primary, seconds = scene.postgres, scene.chance.uniform(*LOST_SECONDS)
    with scene.some_sleep():
        promises = _promise(scene)
        backup = await asyncio.to_thread(_copy, scene, follows=False)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(primary.stop)
        await asyncio.to_thread(backup.take_over, primary)
        _replace(scene, backup, promises)
        await asyncio.sleep(scene.chance.uniform(0, seconds))
    return f"PostgreSQL was replaced by a base backup, {seconds:.1f} s old"


async def restore_dump(scene: Scene) -> str:
    """Restores a dump beside the database and exchanges the two under all connections."""
    url, seconds = scene.fleet.deployment.database_url, scene.chance.uniform(*LOST_SECONDS)
    dump = scene.directory / "gateway.dump"
    with scene.some_sleep():
        promises = _promise(scene)
        await asyncio.to_thread(_command, "pg_dump", "--format=custom", f"--file={dump}", url)
        await asyncio.sleep(seconds)
        copy_url = await asyncio.to_thread(scene.postgres.create_database, COPY)
        await asyncio.to_thread(_command, "pg_restore", "--no-owner", f"--dbname={copy_url}", str(dump))
        await asyncio.to_thread(exchange_databases, url, copy_url)
        _step_back(scene, promises)
        await asyncio.sleep(scene.chance.uniform(0, seconds))
    await asyncio.to_thread(scene.postgres.drop_database, COPY)
    return f"a dump was restored, {seconds:.1f} s after it was made"


async def disk_full(scene: Scene) -> str:
    """Leaves PostgreSQL no free block. It refuses statements, or crashes and needs a start."""
    assert scene.disk is not None
    seconds = scene.chance.uniform(*FULL_SECONDS)
    await asyncio.to_thread(scene.disk.fill)
    assert await asyncio.to_thread(is_full, scene.postgres), "PostgreSQL had room on a full disk"
    await asyncio.sleep(seconds)
    await asyncio.to_thread(scene.disk.free)
    ended = not scene.postgres.alive
    if ended:
        await asyncio.to_thread(scene.postgres.start)
    return f"the disk was full for {seconds:.1f} s" + (" and PostgreSQL ended" if ended else "")


def is_full(postgres: PostgresProcess) -> bool:
    """Returns True when the server cannot write a table of some megabytes, which it would not keep."""
    try:
        with psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE ballast AS SELECT generate_series(1, 200000)")
            connection.rollback()
    except psycopg.OperationalError:
        return True
    return False


def _copy(scene: Scene, *, follows: bool) -> PostgresProcess:
    scene.copies += 1
    directory = scene.volume / f"copy-{scene.copies}"
    directory.mkdir(mode=0o755)
    return PostgresProcess(directory, primary=scene.postgres, follows=follows)


def _promise(scene: Scene) -> list[Promise]:
    return [load.promise() for load in scene.loads]


def _step_back(scene: Scene, promises: list[Promise]) -> None:
    for load, promise in zip(scene.loads, promises, strict=True):
        load.step_back(promise)


def _replace(scene: Scene, copy: PostgresProcess, promises: list[Promise]) -> None:
    """Makes the copy the fleet's server, and removes the former one's files."""
    former = scene.postgres
    scene.fleet.postgres = copy
    _step_back(scene, promises)
    shutil.rmtree(former.directory, ignore_errors=True)


def _command(*words: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(Path.home())}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=DUMP_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


def _needs_server(scene: Scene) -> str:
    return scene.fleet.postgres if isinstance(scene.fleet.postgres, str) else ""


def _needs_dump(scene: Scene) -> str:
    missing = [program for program in ("pg_dump", "pg_restore") if shutil.which(program) is None]
    return f"{missing[0]} is not installed." if missing else _needs_server(scene)


def _needs_disk(scene: Scene) -> str:
    return scene.lacks.get("disk", "") or _needs_server(scene)


DATABASE_FAULTS = by_name(
    [
        Fault(postgres_restart, lacks=_needs_server),
        Fault(failover, lacks=_needs_server),
        Fault(restore_base, lacks=_needs_server),
        Fault(restore_dump, lacks=_needs_dump),
        Fault(disk_full, lacks=_needs_disk),
    ]
)
