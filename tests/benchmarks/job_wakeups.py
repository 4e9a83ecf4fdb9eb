"""Jobs that ten clients queue per second, each in a transaction of its own, and the time until an idle worker starts.

The reference of the rate is the same table with the trigger that notifies in the transaction, as Procrastinate makes
it. The start is measured by the run's own times, one prompt after the other; its reference is the pause between two
looks of a worker that gets no hint.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from functools import partial

import aiohttp
import psycopg

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.processes import SETTINGS, running_processes
from tests.benchmarks.serving import deployment, running_server
from tests.stack.client import Client, until
from tests.stack.deployment import Deployment

CLIENTS = 10
SECONDS = 4.0
PROMPTS = 60
START_SECONDS = 30.0

_TRIGGER = """
    CREATE TRIGGER job_notifies AFTER INSERT ON procrastinate_jobs
    FOR EACH ROW EXECUTE PROCEDURE procrastinate_notify_queue_job_inserted_v1()
"""
_INSERT = "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('legs', 'sessions.wake', '{}')"


async def measure() -> AsyncIterator[Figure]:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    with deployment(distributed=True, **SETTINGS) as state:
        if state is None:
            return
        async with running_server(state, core=None):
            pass  # it migrates
        without = await asyncio.to_thread(commits_per_second, state)
        await asyncio.to_thread(state.write, _TRIGGER)
        notifying = await asyncio.to_thread(commits_per_second, state)
    yield Figure(
        f"jobs queued, {CLIENTS} clients", without, "commits/s", notifying, "with NOTIFY in each", better="higher"
    )
    with deployment(distributed=True, **SETTINGS) as state:
        assert state is not None
        taken = await time_starts(state)
    for share in (0.5, 0.99):
        yield Figure(
            f"prompt to the start of its leg, p{share * 100:.0f}",
            percentile(taken, share),
            "ms",
            2000.0,
            "between looks",
        )


def commits_per_second(state: Deployment) -> float:
    """Counts the transactions that CLIENTS connections commit at once."""
    counts, over = [0] * CLIENTS, threading.Event()

    def client(number: int) -> None:
        with psycopg.connect(state.database_url, autocommit=True) as connection:
            while not over.is_set():
                with connection.transaction():
                    connection.execute(_INSERT)
                counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    over.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


async def time_starts(state: Deployment) -> list[float]:
    """Returns milliseconds from the acceptance of prompts to the start of their legs, in a worker that is idle."""
    async with running_processes(state, webs=1, workers=1) as (webs, _), aiohttp.ClientSession() as http:
        client = Client(http, webs[0].url)
        for number in range(PROMPTS + 1):
            await client.create(f"s-{number}", model="demo:echo")
            await client.prompt(f"s-{number}", "hello")
            await until(partial(has_ended, state, number + 1), START_SECONDS, "the run ends")
    rows = state.rows(
        "SELECT extract(epoch FROM started_at - created_at) * 1000 FROM sessions_app_run ORDER BY created_at"
    )
    # The first run loads what every later one finds.
    return [float(milliseconds) for (milliseconds,) in rows[1:]]


def ended_runs(state: Deployment) -> int:
    [(count,)] = state.rows("SELECT count(*) FROM sessions_app_run WHERE ended_at IS NOT NULL")
    return int(count)


def has_ended(state: Deployment, count: int) -> bool:
    return ended_runs(state) == count
