"""`/healthz` and `/readyz`, called as a server calls them."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from gateway_project.http import health
from gateway_project.http.health import (
    COUNTS,
    HealthCounts,
    Healthz,
    MigrationsProbe,
    NotReady,
    Probe,
    Readyz,
    WorkersProbe,
    channel_layer_probe,
    database_probe,
)
from tests.conftest import Caller


class Gateway:
    """Stands for the process."""

    def __init__(self, *, draining: bool) -> None:
        self.draining = draining


async def ask(application: Any, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await application({"type": "http", "method": method, "path": "/", "headers": []}, receive, send)
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


async def test_healthz_answers_without_a_database() -> None:
    status, headers, body = await ask(Healthz(HealthCounts()))
    answer = json.loads(body)
    assert (status, headers[b"content-type"]) == (200, b"application/json")
    assert answer.pop("timestamp").endswith("Z")
    assert answer == {
        "status": "ok",
        "version": settings.GATEWAY_VERSION,
        "sessions": {"active": 0},
        "meter": {"tracked_keys": 0},
    }


@pytest.mark.django_db(transaction=True)
async def test_the_counts_are_those_of_the_last_refresh(owner: Caller, stranger: Caller) -> None:
    counts = HealthCounts()
    await counts.refresh()
    _, _, body = await ask(Healthz(counts))
    assert json.loads(body)["meter"] == {"tracked_keys": 2}


async def test_a_head_request_has_no_body_and_a_post_is_refused() -> None:
    status, headers, body = await ask(Healthz(COUNTS), "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers[b"content-length"]) > 0
    status, headers, body = await ask(Healthz(COUNTS), "POST")
    assert (status, json.loads(body)["error"], headers[b"allow"]) == (405, "method_not_allowed", b"GET, HEAD")


async def test_a_refused_method_is_told_the_allowed_ones_once() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await Healthz(COUNTS)({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
    assert [value for name, value in sent[0]["headers"] if name == b"allow"] == [b"GET, HEAD"]


@pytest.mark.django_db(transaction=True)
async def test_readyz_has_a_line_per_part() -> None:
    probes: dict[str, Probe] = {
        "database": database_probe,
        "channel layer": channel_layer_probe,
        "workers": WorkersProbe(Gateway(draining=False)),
        "migrations": MigrationsProbe(),
    }
    status, _, body = await ask(Readyz(probes))
    assert (status, body) == (200, b"database: ok\nchannel layer: ok\nworkers: ok\nmigrations: ok\n")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(bool(settings.GATEWAY_DATABASE_URL), reason="PostgreSQL's disk is its own")
async def test_a_gateway_whose_disk_is_full_is_not_ready_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, ready in ((10_000_000, 200), (0, 503)):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        status, _, body = await ask(Readyz({"database": database_probe}))
        assert status == ready
    assert b"GATEWAY_DATA_DIR" in body


async def test_a_part_that_is_away_is_a_line_in_the_log_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def away() -> str:
        raise ConnectionError("refused")

    await ask(Readyz({"channel layer": away}))
    (said,) = [record.getMessage() for record in caplog.records if "probe_failed" in record.getMessage()]
    assert "ConnectionError: refused" in said
    assert "exc_info" not in said


async def test_a_draining_process_is_not_ready() -> None:
    status, _, body = await ask(Readyz({"workers": WorkersProbe(Gateway(draining=True))}))
    assert (status, body) == (503, b"workers: draining\n")


async def test_without_a_worker_that_is_alive_a_process_is_ready_and_says_so(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GATEWAY_RUNNER = "worker"
    probe = WorkersProbe(Gateway(draining=False))
    monkeypatch.setattr(health, "workers_alive", lambda: False)
    assert (await ask(Readyz({"workers": probe})))[::2] == (200, b"workers: none is alive, prompts wait\n")
    monkeypatch.setattr(health, "workers_alive", lambda: True)
    assert (await ask(Readyz({"workers": probe})))[::2] == (200, b"workers: ok\n")


@pytest.mark.django_db
@pytest.mark.skipif(not settings.GATEWAY_DATABASE_URL, reason="The workers' queue is PostgreSQL's.")
def test_a_worker_is_alive_as_long_as_its_heart_beats() -> None:
    assert not health.workers_alive()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 minute')")
        assert not health.workers_alive()
        cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")
        assert health.workers_alive()


async def test_a_part_that_fails_or_hangs_is_named_without_its_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> str:
        raise OSError("password of the database")

    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    async def refuse() -> str:
        raise NotReady("3 not applied")

    monkeypatch.setattr("gateway_project.http.health.PROBE_SECONDS", 0.01)
    status, _, body = await ask(Readyz({"a": fail, "b": hang, "c": refuse}))
    assert status == 503
    assert body == b"a: failed; the log says why\nb: no answer within 0 s\nc: 3 not applied\n"
