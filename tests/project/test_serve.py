"""`manage.py serve` as a process: the first start, refusals, and a clean stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models.signals import pre_migrate

from gateway_project.management.commands import serve
from tests.stack.process import free_port

BOUND_SECONDS = 120

pytestmark = pytest.mark.django_db(transaction=True)


def database_url_under_test() -> str:
    """Returns the URL of the test run's database; empty for SQLite."""
    if not settings.GATEWAY_DATABASE_URL:
        return ""
    base, _, _ = settings.GATEWAY_DATABASE_URL.rpartition("/")
    return f"{base}/{connection.settings_dict['NAME']}"


class Served:
    """A started process and the announcement that it printed."""

    def __init__(self, directory: Path, port: int, **given: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "gateway_project.settings",
            "GATEWAY_DATA_DIR": str(directory),
            "GATEWAY_PORT": str(port),
            "GATEWAY_DATABASE_URL": database_url_under_test(),
            **given,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "serve"],
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def announcement(self) -> str:
        """Returns the announcement: addresses and secrets."""
        lines: list[str] = []
        assert self.process.stdout is not None
        deadline = threading.Timer(BOUND_SECONDS, self.process.kill)
        deadline.start()
        for line in self.process.stdout:
            lines.append(line)
            if "curl -N" in line:
                break
        deadline.cancel()
        assert lines, self.stop()[1]
        return "".join(lines)

    def stop(self) -> tuple[int, str]:
        """Sends SIGTERM; returns the exit code and the log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=BOUND_SECONDS)
        return self.process.returncode, log

    def refusal(self) -> tuple[int, str]:
        """Returns the exit code and the last line of a process that does not start."""
        try:
            _, log = self.process.communicate(timeout=BOUND_SECONDS)
        except subprocess.TimeoutExpired:
            # Nothing of it is left for another test to stumble over.
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, log.strip().splitlines()[-1]


@pytest.fixture
def served_process(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path, free_port(), GATEWAY_RATE_LIMIT_RPM="1000")
    yield served
    if served.process.poll() is None:
        served.process.kill()
    served.process.communicate(timeout=BOUND_SECONDS)


def test_a_first_start_shows_a_key_that_works_and_stops_without_an_error(served_process: Served) -> None:
    said = served_process.announcement()
    key = re.search(r"agw_[\w-]+", said)
    assert key is not None
    assert httpx.get(f"{served_process.url}/healthz").json()["status"] == "ok"
    ready = httpx.get(f"{served_process.url}/readyz")
    assert (ready.status_code, ready.text.count(": ok\n")) == (200, 5)
    assert httpx.get(f"{served_process.url}/v1/sessions").status_code == 401
    assert httpx.get(f"{served_process.url}/v1/sessions", headers={"X-API-Key": key[0]}).json()["sessions"] == []
    assert httpx.get(f"{served_process.url}/static/admin/css/base.css").status_code == 200
    code, log = served_process.stop()
    assert code == 0
    assert key[0] not in log
    assert '"level":"info"' in log
    assert '"level":"error"' not in log


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = Served(tmp_path, int(taken.getsockname()[1])).refusal()
    assert code == 1
    assert "GATEWAY_PORT" in said


@pytest.mark.skipif(bool(settings.GATEWAY_DATABASE_URL), reason="PostgreSQL and Redis take several processes")
def test_a_second_process_on_the_data_directory_is_one_sentence(served_process: Served, tmp_path: Path) -> None:
    served_process.announcement()
    code, said = Served(tmp_path, free_port()).refusal()
    assert code == 1
    assert "GATEWAY_DATA_DIR" in said


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("GATEWAY_PORT", "many"),
        ("GATEWAY_DATABASE_URL", "mysql://127.0.0.1/gateway"),
        ("GATEWAY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none"),
        ("GATEWAY_API_KEYS", "one two"),
        ("GATEWAY_RUNNER", "elsewhere"),
        ("GATEWAY_DATA_DIR", "/proc/nothing"),
        ("GATEWAY_HOST", "192.0.2.1"),
        ("GATEWAY_ENV_FILE", "/nowhere/.env"),
    ],
)
def test_a_setting_that_cannot_work_is_one_sentence(tmp_path: Path, setting: str, value: str) -> None:
    code, said = Served(tmp_path, free_port(), **{setting: value}).refusal()
    assert code == 1
    assert setting in said
    assert "Traceback" not in said


def test_a_broken_configuration_is_one_sentence_and_makes_no_keys_that_nobody_sees(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("models: {providers: {mine: {basurl: 1}}}", encoding="utf-8")
    code, said = Served(tmp_path, free_port(), GATEWAY_CONFIG=str(config)).refusal()
    assert code == 1
    assert "GATEWAY_CONFIG" in said
    assert "models.providers.mine.basurl" in said
    config.write_text("models: {}", encoding="utf-8")
    served = Served(tmp_path, free_port(), GATEWAY_CONFIG=str(config))
    assert "API key        agw_" in served.announcement()
    assert served.stop()[0] == 0


@pytest.mark.skipif(not settings.GATEWAY_DATABASE_URL, reason="SQLite has no such bound")
def test_a_migration_is_not_cut_off_between_its_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other transactions are limited to a part of the lease, and a slow machine needs longer between two statements."""

    def idle_timeout(**given: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            seen.append(str(cursor.fetchone()[0]))
        return seen[-1]

    seen: list[str] = []
    monkeypatch.setattr(serve, "migrations_missing", lambda: 1)
    last = apps.get_app_config("sessions_app")
    idle_timeout()
    pre_migrate.connect(idle_timeout, sender=last)
    try:
        serve.migrate()
    finally:
        pre_migrate.disconnect(idle_timeout, sender=last)
    idle_timeout()
    assert seen == ["1min", "10min", "1min"]
