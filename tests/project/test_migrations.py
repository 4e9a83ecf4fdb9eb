"""Migrations run beside a serving gateway: none holds a table's lock for long, and each waits for it a moment only."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.db.models.signals import post_migrate, pre_migrate

from core_app import online_migrations
from core_app.online_migrations import AddCheckOnline, AddIndexOnline, OnlineMigration, UpdateInBatches
from tests.settings import DEPLOYMENT

BEFORE = frozenset({
    *[("sessions_app", number) for number in ("0001", "0002", "0003", "0008", "0010", "0011", "0012")],
    *[("tenants_app", number) for number in ("0001", "0003")],
    *[("events_app", number) for number in ("0001", "0002", "0005")],
    *[("inference_app", number) for number in ("0001", "0002")],
    ("tools_app", "0001"),
})  # fmt: skip
"""Migrations older than the rule. Nothing was released before it, so they have met empty tables only."""


def own_migrations() -> Iterator[tuple[str, str, type[migrations.Migration]]]:
    for config in apps.get_app_configs():
        folder = settings.BASE_DIR.joinpath(*config.name.split("."), "migrations")
        for path in sorted(folder.glob("0*.py")) if config.path.startswith(str(settings.BASE_DIR)) else ():
            module = import_module(f"{config.name}.migrations.{path.stem}")
            yield config.label, path.stem, module.Migration


def faults(kind: type[migrations.Migration]) -> Iterator[str]:
    """Yields what in a migration would stop writers for as long as a table is large."""
    if not issubclass(kind, OnlineMigration):
        yield "the class is no OnlineMigration"
    created = {operation.name_lower for operation in kind.operations if isinstance(operation, migrations.CreateModel)}
    for operation in kind.operations:
        name = getattr(operation, "model_name", "").lower()
        if name in created or isinstance(operation, migrations.SeparateDatabaseAndState):
            continue
        if isinstance(operation, AddIndexOnline | UpdateInBatches) and kind.atomic:
            yield f"{type(operation).__name__} needs atomic = False"
        elif isinstance(operation, migrations.AddIndex) and not isinstance(operation, AddIndexOnline):
            yield f"the index {operation.index.name} is not made with AddIndexOnline"
        elif isinstance(operation, migrations.AddConstraint) and not isinstance(operation, AddCheckOnline):
            yield f"the constraint {operation.constraint.name} is not added with AddCheckOnline"
        elif isinstance(operation, migrations.AddField) and _makes_index(operation.field):
            yield f"the field {operation.name} makes an index: db_index=False, and AddIndexOnline"
        elif isinstance(operation, migrations.RunPython | migrations.RunSQL):
            yield "rows are changed with UpdateInBatches"


def _makes_index(field: models.Field[Any, Any]) -> bool:
    return bool(field.db_index or field.unique)


@pytest.mark.parametrize(
    ("label", "name", "kind"), [pytest.param(*found, id=f"{found[0]}-{found[1]}") for found in own_migrations()]
)
def test_a_migration_stops_no_writer(label: str, name: str, kind: type[migrations.Migration]) -> None:
    if (label, name[:4]) not in BEFORE:
        assert list(faults(kind)) == []


class Plain(migrations.Migration):
    operations = [
        migrations.AddIndex("run", models.Index(fields=["state"], name="x")),
        migrations.RunSQL("UPDATE t SET a = 1"),
        migrations.AddField("run", "other", models.ForeignKey("sessions_app.Run", models.CASCADE, null=True)),
    ]


def test_other_migrations_are_refused() -> None:
    assert len(list(faults(Plain))) == 4


def test_no_index_is_left_out_of_the_list() -> None:
    known = {(label, name[:4]) for label, name, _ in own_migrations()}
    assert known >= BEFORE


class _Nothing(OnlineMigration):
    atomic = False

    def __init__(self, operation: Any) -> None:
        super().__init__("nothing", "sessions_app")
        self.operations = [operation]


class _Busy(migrations.RunSQL):
    """An operation whose lock is not free at first."""

    def __init__(self, held: int) -> None:
        super().__init__("SELECT 1")
        self.held = held
        self.lock_timeout = ""

    def database_forwards(self, *given: Any) -> None:
        self.lock_timeout = lock_timeout()
        if self.held:
            self.held -= 1
            import psycopg

            from tests.events.test_flusher_failures import fail_with

            raise fail_with(psycopg.errors.LockNotAvailable)


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="SQLite serves one process, which is stopped for an upgrade")
@pytest.mark.django_db(transaction=True)
def test_a_migration_waits_a_moment_for_a_lock_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(online_migrations.time, "sleep", pauses.append)
    operation, before = _Busy(3), lock_timeout()
    with connection.schema_editor(atomic=False) as editor:
        _Nothing(operation).apply(ProjectState(), editor)
    assert (operation.lock_timeout, lock_timeout()) == ("2s", before)
    connection.close()
    assert pauses == [online_migrations.PAUSE_SECONDS] * 3


@pytest.mark.django_db(transaction=True)
def test_an_index_is_made_and_removed() -> None:
    loader = MigrationLoader(connection)
    state = loader.project_state([node for node in loader.graph.leaf_nodes() if node[0] == "sessions_app"])
    operation = AddIndexOnline("steeringnote", models.Index(fields=["created_at"], name="note_by_time"))
    after = state.clone()
    operation.state_forwards("sessions_app", after)
    before = lock_timeout()
    try:
        for _ in range(2):
            with connection.schema_editor(atomic=False) as editor:
                operation.database_forwards("sessions_app", editor, state, after)
            assert "note_by_time" in indexes("sessions_app_steeringnote")
            assert lock_timeout() == before
            with connection.schema_editor(atomic=False) as editor:
                operation.database_backwards("sessions_app", editor, after, state)
            assert "note_by_time" not in indexes("sessions_app_steeringnote")
    finally:
        connection.close()


def lock_timeout() -> str:
    """Returns the connection's time-out for locks; SQLite has none."""
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        return str(cursor.fetchone()[0])


def indexes(table: str) -> set[str]:
    with connection.cursor() as cursor:
        return set(connection.introspection.get_constraints(cursor, table))


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="SQLite's connections have no such settings")
@pytest.mark.django_db(transaction=True)
def test_a_migration_may_think_between_two_statements() -> None:
    """An idle transaction has little time, in tests a minute, and on a busy machine Django thinks longer than that."""
    config = apps.get_app_config("core_app")
    given: dict[str, Any] = {"sender": config, "using": "default", "verbosity": 0, "interactive": False}
    found = []
    for signal in (pre_migrate, post_migrate):
        signal.send(app_config=config, **given)
        with connection.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            found.append(cursor.fetchone()[0])
    assert found == ["10min", "1min"]
