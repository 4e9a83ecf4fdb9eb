"""The cost of an open snapshot, such as that of `pg_dump`, to the head of a busy stream: blocks read to move it.

Every commit of a stream leaves a version of its row, which PostgreSQL cannot prune while a snapshot may need it. The
reference is the same row without a snapshot. Counts, and no times: they are the same on a busy machine.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg

from tests.benchmarks.figures import Figure
from tests.benchmarks.serving import deployment
from tests.stack.deployment import Deployment
from tests.stack.process import ROOT, free_port

VERSIONS = (250, 500, 1000)
MOVE = "UPDATE events_app_stream SET head = head + 1 WHERE id = %s"


async def measure() -> AsyncIterator[Figure]:
    with deployment(distributed=True) as state:
        if state is None:
            return
        command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        await asyncio.to_thread(subprocess.run, command, cwd=ROOT, env=state.environment(free_port()), check=True)
        alone = await asyncio.to_thread(blocks_by_versions, state, False)
        beside = await asyncio.to_thread(blocks_by_versions, state, True)
    for versions, blocks in beside.items():
        what = f"blocks to move a head after {versions:,} commits, open snapshot"
        yield Figure(what, blocks, "blocks", alone[versions], "without")


def blocks_by_versions(state: Deployment, snapshot: bool) -> dict[int, int]:
    """Returns the blocks that a statement reads after so many versions of its row."""
    found = {}
    with psycopg.connect(state.database_url, autocommit=True) as connection:
        [stream_id] = connection.execute(
            "INSERT INTO events_app_stream (kind, head, floor, epoch, lease_expires, generation, bases)"
            " VALUES ('session', 0, 0, 0, 0, 0, '') RETURNING id"
        ).fetchone() or [0]
        with open_snapshot(state) if snapshot else nullcontext():
            for versions in range(1, max(VERSIONS) + 1):
                connection.execute(MOVE, [stream_id])
                if versions in VERSIONS:
                    found[versions] = blocks_read(connection, stream_id)
    return found


def blocks_read(connection: psycopg.Connection[tuple[object, ...]], stream_id: int) -> int:
    # Through the index, as in a table with more streams than one.
    connection.execute("SET enable_seqscan = off")
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {MOVE}"
    row = connection.execute(explain.encode(), [stream_id]).fetchone()
    assert row is not None
    plans: Any = row[0]
    plan = plans[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@contextmanager
def open_snapshot(state: Deployment) -> Iterator[None]:
    """Keeps a snapshot that sees the row, as a backup does."""
    with psycopg.connect(state.database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM events_app_stream")
        yield
