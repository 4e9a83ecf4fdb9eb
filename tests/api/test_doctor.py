"""`manage.py doctor` says what is wrong, and only then that something is."""

from __future__ import annotations

import io
import json
import resource
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from core_app import clock, sealing
from core_app.database import database_now
from events_app.models import Stream
from faces.native.session_serializers import SessionCreateSerializer
from gateway_project.operations import doctor
from inference_app.catalogue.config import MODELS
from inference_app.catalogue.overlay import Overlay, overlay_replace
from inference_app.models import Provider, Route
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import session_create
from tenants_app.services.ledger import ledger_record
from tests.conftest import Caller

pytestmark = pytest.mark.django_db(transaction=True)

BROKEN_YAML = "models: {providers: {mine: {wire: morse}}}"


def run_doctor(*arguments: str) -> tuple[int, str]:
    """Returns the exit code and everything printed."""
    out = io.StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def level_of(check: str) -> str:
    return next(finding.level for finding in doctor.findings() if finding.check == check)


@pytest.fixture
def run(owner: Caller) -> Run:
    """A queued run."""
    serializer = SessionCreateSerializer(data={"model": "demo:echo"})
    serializer.is_valid(raise_exception=True)
    session = session_create(principal=owner.principal, request=serializer.to_request())
    receipt = prompt_accept(principal=owner.principal, public_id=session.public_id, prompt=Prompt(text="hello"))
    return Run.objects.get(pk=receipt.run_pk)


def test_a_gateway_that_is_well_is_told_so() -> None:
    code, text = run_doctor()
    assert code == 0
    assert "WRONG" not in text
    assert len(text.splitlines()) == len(list(doctor.findings())) == 21


def test_the_same_is_printed_as_json() -> None:
    code, text = run_doctor("--json")
    printed = json.loads(text)
    assert (code, printed["ok"]) == (0, True)
    assert {check["check"] for check in printed["checks"]} >= {"settings", "database", "migrations", "ledger"}


def test_what_is_wrong_ends_with_1(settings: Any, tmp_path: Path) -> None:
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text(BROKEN_YAML)
    code, text = run_doctor()
    assert code == 1
    assert "WRONG   configuration: gateway.yaml: models.providers.mine.wire" in text
    assert json.loads(run_doctor("--json")[1])["ok"] is False


def test_settings_that_cannot_work_are_wrong(settings: Any) -> None:
    settings.GATEWAY_RUNNER = "elsewhere"
    assert level_of("settings") == "wrong"


def test_a_redis_that_does_not_answer_is_wrong(settings: Any) -> None:
    settings.GATEWAY_REDIS_URL = "redis://:hidden-password@127.0.0.1:1/0"
    code, text = run_doctor()
    assert code == 1
    assert "WRONG   channel layer" in text
    assert "hidden-password" not in text


def test_a_database_that_cannot_be_reached_is_wrong_and_nothing_in_it_is_looked_at(settings: Any) -> None:
    settings.GATEWAY_DATABASE_URL = "postgresql://nobody:hidden-password@127.0.0.1:1/none"
    code, text = run_doctor()
    assert code == 1
    assert "WRONG   database: GATEWAY_DATABASE_URL" in text
    assert "hidden-password" not in text
    assert "ledger" not in text


def test_a_schema_of_another_version_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "migrations_missing", lambda: 2)
    assert level_of("migrations") == "wrong"
    assert "ledger" not in {finding.check for finding in doctor.findings()}


def test_clocks_that_differ_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "database_now", lambda: 0.0)
    assert level_of("clocks") == "warning"
    assert run_doctor()[0] == 0


def test_few_open_files_and_a_full_disk_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 4096))
    monkeypatch.setattr(doctor, "LEAST_FREE_SHARE", 2.0)
    assert (level_of("open files"), level_of("disk")) == ("warning", "warning")


def test_nobody_to_run_what_is_queued_is_a_warning(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GATEWAY_RUNNER = "worker"
    monkeypatch.setattr(doctor, "workers_alive", lambda: False)
    assert level_of("workers") == "warning"
    monkeypatch.setattr(doctor, "workers_alive", lambda: True)
    assert level_of("workers") == "ok"


def test_a_run_that_a_dead_process_holds_is_wrong(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    stream = Stream.objects.filter(pk=AgentSession.objects.get(pk=run.session_id).stream_id)
    stream.update(owner="gone", lease_expires=database_now())
    assert level_of("leases") == "ok"
    stream.update(lease_expires=database_now() - 60)
    assert level_of("leases") == "wrong"


def test_a_run_that_waits_for_nothing_is_wrong(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(state=RunState.WAITING)
    assert level_of("waiting runs") == "wrong"


def test_a_run_that_waits_for_its_provider_is_right_until_nobody_resumes_it(run: Run) -> None:
    waiting = Run.objects.filter(pk=run.pk)
    waiting.update(state=RunState.WAITING, resume_at=clock.now() + timedelta(minutes=1))
    assert level_of("waiting runs") == "ok"
    waiting.update(resume_at=clock.now() - timedelta(minutes=5))
    assert level_of("waiting runs") == "warning"


def test_a_prompt_that_nobody_begins_is_a_warning(run: Run) -> None:
    assert level_of("waiting runs") == "ok"
    Run.objects.filter(pk=run.pk).update(created_at=clock.now() - timedelta(minutes=5))
    assert level_of("waiting runs") == "warning"


def test_a_ledger_that_differs_from_the_runs_is_wrong(run: Run, owner: Caller) -> None:
    ledger_record(
        tenant_id=owner.principal.tenant_id,
        api_key_id=owner.principal.key_id,
        session_ref="any",
        run_id=run.pk,
        response_no=1,
        model="demo:echo",
        input_tokens=3,
        output_tokens=2,
        cached_tokens=0,
        reasoning_tokens=0,
        cost_usd=None,
    )
    Run.objects.filter(pk=run.pk).update(turns=1, input_tokens=3, output_tokens=2)
    assert level_of("ledger") == "ok"
    Run.objects.filter(pk=run.pk).update(output_tokens=9)
    assert level_of("ledger") == "wrong"


def test_keys_of_providers_are_named_by_their_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret-of-the-operator")
    _, text = run_doctor()
    assert "usable: openai" in text
    assert "ANTHROPIC_API_KEY" in text
    assert "sk-a-secret" not in text


@pytest.fixture
def rows_forgotten() -> Iterator[None]:
    yield
    overlay_replace(Overlay(), {})
    MODELS.forget()


@pytest.mark.usefixtures("rows_forgotten")
def test_what_the_admin_lays_over_the_file_is_judged_with_it(settings: Any, tmp_path: Path) -> None:
    settings.GATEWAY_CONFIG = path = tmp_path / "gateway.yaml"
    # Alone it names a provider that it does not have.
    path.write_text("models: {model_routing: {tiny: [mine]}}")
    assert level_of("configuration") == "wrong"
    entry = {"base_url": "http://127.0.0.1:9/v1"}
    Provider.objects.create(name="mine", entry=entry, sealed_key=sealing.seal("sk-of-a-row"))
    Provider.objects.create(name="xai", entry={}, enabled=False)
    code, text = run_doctor()
    assert code == 0
    assert "with 2 rows of the admin" in text
    assert "mine" in text[text.index("usable: ") : text.index("without a key: ")]
    assert "switched off: xai." in text
    assert "sk-of-a-row" not in text
    Route.objects.create(prefix="huge", providers=["nobody"])
    assert level_of("configuration") == "wrong"


def test_connections_are_counted_where_there_is_a_server(settings: Any) -> None:
    assert level_of("connections") == ("warning" if connection.vendor == "postgresql" and room() < 61 else "ok")
    if connection.vendor == "postgresql":
        # One process more than the test itself is too many.
        settings.GATEWAY_REQUEST_THREADS = 100_000
        assert level_of("connections") == "warning"


def room() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('max_connections')::int")
        return int(cursor.fetchone()[0]) - 3


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite keeps one version of a row.")
def test_an_old_snapshot_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert level_of("snapshots") == "ok"
    monkeypatch.setattr(doctor, "SNAPSHOT_SECONDS", 0.0)
    reader = connection.copy()
    try:
        with reader.cursor() as cursor:
            cursor.execute("SET application_name = 'the-backup'")
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1")
        level, text = doctor.check_snapshots()
    finally:
        reader.close()
    assert level == "warning"
    assert "the-backup" in text


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({"HOST": "127.0.0.1"}, "ok"),
        ({"HOST": "::1"}, "ok"),
        ({"HOST": "localhost"}, "ok"),
        ({"HOST": "0.0.0.0"}, "warning"),
        ({"HOST": "::"}, "warning"),
        ({"HOST": "gateway.example"}, "warning"),
        ({"HOST": "0.0.0.0", "TLS_CERT_FILE": "server.crt"}, "ok"),
        ({"HOST": "0.0.0.0", "TRUSTED_PROXIES": ["10.0.0.0/8"]}, "ok"),
    ],
)
def test_a_gateway_that_others_reach_in_clear_text_is_warned_of(settings: Any, fields: Any, level: str) -> None:
    for name, value in fields.items():
        setattr(settings, f"GATEWAY_{name}", value)
    assert doctor.check_exposure()[0] == level
