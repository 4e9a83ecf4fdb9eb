"""Workers hear of jobs over Redis after the commit, and look for them where no hint comes (PostgreSQL only)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from django.conf import settings as configured
from django.db import connection

from core_app import database
from core_app.database import write_transaction
from sessions_app.legs import job_hints
from sessions_app.legs.job_hints import JobHints
from sessions_app.legs.sweep import sweep
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from sessions_app.wakeup import WAKEUPS, SessionKey
from tests.conftest import Caller
from tests.gateway_harness import WAIT

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not configured.GATEWAY_DATABASE_URL, reason="Jobs are PostgreSQL's."),
]


class CountedHints:
    """Counts hints instead of sending them."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self) -> None:
        self.sent += 1


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> CountedHints:
    from sessions_app.legs import jobs

    counted = CountedHints()
    monkeypatch.setattr(jobs, "JOB_HINTS", counted)
    monkeypatch.setattr(WAKEUPS, "queue", jobs.JobQueue())
    return counted


def prompted(owner: Caller) -> SessionKey:
    session = session_create(principal=owner.principal, request=SessionRequest(model="demo:echo"))
    prompt_accept(principal=owner.principal, public_id=session.public_id, prompt=Prompt(text="go"))
    return SessionKey(session.pk, session.tenant_id)


def query(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def test_no_trigger_notifies_of_a_job() -> None:
    found = query(
        "SELECT tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE tgrelid = 'procrastinate_jobs'::regclass AND p.prosrc ILIKE '%pg_notify%'"
    )
    assert found == []


def test_tables_whose_rows_change_with_every_commit_have_free_space_and_an_eager_vacuum() -> None:
    for table in ("events_app_stream", "procrastinate_jobs"):
        ((options,),) = query(f"SELECT reloptions FROM pg_class WHERE oid = '{table}'::regclass")
        assert {"fillfactor=50", "autovacuum_vacuum_scale_factor=0.02"} <= set(options)


def test_indexes_that_were_built_beside_writers_are_valid() -> None:
    names = "'event_by_source', 'run_by_end'"
    valid = query(
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        f" WHERE c.relname IN ({names}) ORDER BY 1"
    )
    assert valid == [("event_by_source", True), ("run_by_end", True)]


def test_a_hint_follows_the_commit_and_not_a_rollback(owner: Caller, hints: CountedHints) -> None:
    with write_transaction():
        prompted(owner)
        assert hints.sent == 0
    assert hints.sent == 1

    def prompt_then_fail() -> None:
        with write_transaction():
            prompted(owner)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        prompt_then_fail()
    assert hints.sent == 1


def test_the_sweep_queues_only_sessions_without_a_waiting_job(owner: Caller, hints: CountedHints) -> None:
    waiting, lost = prompted(owner), prompted(owner)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs WHERE queueing_lock = %s", [f"session-{lost.session_id}"])
    (before,) = query("SELECT last_value FROM procrastinate_jobs_id_seq")
    hints.sent = 0
    assert sweep() == 2
    ((after,),) = query("SELECT last_value FROM procrastinate_jobs_id_seq")
    assert (hints.sent, after - before[0]) == (1, 1)
    assert WAKEUPS.queue is not None
    assert WAKEUPS.queue.find_queued([waiting, lost]) == {waiting, lost}


def test_the_sweep_offers_waiting_sessions_to_overflow_slots(owner: Caller, hints: CountedHints) -> None:
    offered: list[SessionKey] = []
    key = prompted(owner)
    WAKEUPS.overflow = offered.append
    try:
        sweep()
    finally:
        WAKEUPS.overflow = None
    assert offered == [key]


@pytest_asyncio.fixture
async def parts() -> AsyncIterator[tuple[JobHints, JobHints]]:
    """The part of a web process and that of a worker."""
    web, worker = JobHints(), JobHints()
    await web.start()
    await worker.start()
    yield web, worker
    await web.stop()
    await worker.stop()


async def test_a_hint_wakes_the_workers_of_other_processes(
    parts: tuple[JobHints, JobHints],
) -> None:
    web, worker = parts
    heard: asyncio.Queue[None] = asyncio.Queue()

    async def note() -> None:
        heard.put_nowait(None)

    listening = asyncio.create_task(worker.listen(note))
    async with asyncio.timeout(WAIT):
        await heard.get()  # once it listens: hints before then were missed
        await asyncio.to_thread(web.send)
        await heard.get()
        await heard.get()  # the echo
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_listening_goes_on_after_redis_was_away(
    parts: tuple[JobHints, JobHints], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_hints, "RETRY_SECONDS", 0.0)
    _, worker = parts
    listens, broken, heard = worker._listen, [True], asyncio.Event()

    async def fail_once(redis: Any, on_hint: Any) -> None:
        if broken.pop():
            broken.append(False)
            raise ConnectionError("refused")
        broken.append(False)
        await listens(redis, on_hint)

    async def note() -> None:
        heard.set()

    monkeypatch.setattr(worker, "_listen", fail_once)
    listening = asyncio.create_task(worker.listen(note))
    async with asyncio.timeout(WAIT):
        await heard.wait()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert any("job_hints_not_received" in record.getMessage() for record in caplog.records)


async def test_without_redis_workers_look_as_often_as_the_sweep(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sessions_app.legs import jobs

    settings.GATEWAY_SWEEP_SECONDS = 1.25
    asked: dict[str, dict[str, Any]] = {}
    all_asked = asyncio.Event()

    class Library:
        async def run_worker_async(self, **given: Any) -> None:
            asked[given["queues"][0]] = given
            if len(asked) == 2:
                all_asked.set()
            await asyncio.Event().wait()

    workers = jobs.JobWorkers()
    workers._worker_app = Library()  # type: ignore[assignment]
    tasks = [asyncio.create_task(workers._run(queue, 1)) for queue in (jobs.LEGS, jobs.HOUSEKEEPING)]
    async with asyncio.timeout(WAIT):
        await all_asked.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (asked[jobs.LEGS]["fetch_job_polling_interval"], asked[jobs.LEGS]["listen_notify"]) == (1.25, True)
    assert not asked[jobs.HOUSEKEEPING]["listen_notify"]


async def test_each_housekeeping_job_has_a_slot() -> None:
    from procrastinate.contrib.django import app

    from sessions_app.legs import jobs

    await database.run(app.perform_import_paths)
    periodic = {task.task.name for task in app.periodic_registry.periodic_tasks.values()}
    assert len(periodic) == jobs.HOUSEKEEPING_SLOTS
