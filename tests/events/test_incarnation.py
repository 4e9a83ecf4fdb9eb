"""A generation begins when the database was restored, copied, failed over or lost its last commits; else none does."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils.module_loading import import_string

from events_app import incarnation, incarnation_sqlite
from events_app.incarnation import incarnation_begin, incarnation_end
from events_app.models import Incarnation
from gateway_project.operations.backup import backup_make
from tests.going_back import number_generations

pytestmark = pytest.mark.django_db(transaction=True)

ON_SQLITE = pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has no file beside it.")
ON_POSTGRESQL = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connections to a server.")


@pytest.fixture(autouse=True)
def _numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    number_generations(monkeypatch)


def generation() -> int:
    return Incarnation.objects.order_by("-n").values_list("n", flat=True)[0]


def start() -> int:
    incarnation_begin()
    return generation()


def database_file() -> Path:
    return Path(connection.settings_dict["NAME"])


def test_the_first_start_of_all_is_generation_0() -> None:
    assert start() == 0
    assert Incarnation.objects.count() == 1


def test_starts_after_stops_and_kills_go_on() -> None:
    start()
    incarnation_end()
    assert start() == 0
    # Killed: no end.
    assert start() == 0
    assert start() == 0


def test_somebody_who_put_former_rows_into_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    start()
    call_command("restored")
    assert capsys.readouterr().out == "Generation 1 has begun.\n"
    assert start() == 1
    call_command("restored")
    assert start() == 2


def test_numbers_of_generations_are_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two restores of one backup know the same numbers, and neither knows of the other."""
    monkeypatch.setattr("events_app.incarnation.time.time", lambda: incarnation.EPOCH + 500.0)
    first = incarnation.generation_next(0)
    monkeypatch.setattr("events_app.incarnation.time.time", lambda: incarnation.EPOCH + 560.0)
    assert (first, incarnation.generation_next(0)) == (500, 560)
    # A clock that goes back does not take the numbers back.
    assert incarnation.generation_next(900) == 901


@ON_SQLITE
def test_a_start_after_another_boot_begins_a_generation_unless_the_stop_was_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start()
    monkeypatch.setattr(incarnation_sqlite, "_boot_id", lambda: "after-the-power-cut")
    assert start() == 1
    incarnation_end()
    monkeypatch.setattr(incarnation_sqlite, "_boot_id", lambda: "after-a-restart")
    assert start() == 1


@ON_SQLITE
@pytest.mark.parametrize("in_order", [True, False])
def test_a_copy_of_both_files_is_another_database(in_order: bool) -> None:
    """Whatever made the copy, and wherever it is put: beside the original, or over it."""
    start()
    if in_order:
        incarnation_end()
    file = database_file().with_name(incarnation_sqlite.FILE)
    copy = file.with_name("copy")
    shutil.copy2(file, copy)
    shutil.copy2(copy, file)
    assert start() == 1


@ON_SQLITE
def test_a_database_that_is_put_back_does_not_know_the_file_of_a_later_start() -> None:
    start()
    former = Incarnation.objects.get().identity
    incarnation_end()
    start()
    Incarnation.objects.update(identity=former)
    assert start() == 1


@ON_SQLITE
def test_a_database_that_was_copied_while_it_was_served_does_not_know_the_file_after_the_stop() -> None:
    start()
    former = Incarnation.objects.get().identity
    incarnation_end()
    Incarnation.objects.update(identity=former)
    assert start() == 1


@ON_SQLITE
def test_a_database_without_the_file_is_a_copy() -> None:
    start()
    incarnation_end()
    os.unlink(database_file().with_name(incarnation_sqlite.FILE))
    assert start() == 1


@ON_SQLITE
def test_a_backup_forgets_its_incarnation(tmp_path: Path) -> None:
    start()
    data, target = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    with closing(sqlite3.connect(database_file())) as here, closing(sqlite3.connect(data / "gateway.sqlite3")) as copy:
        here.backup(copy)
    backup_make(data, target)
    with closing(sqlite3.connect(target / "gateway.sqlite3")) as copy:
        assert copy.execute("SELECT n, identity FROM events_app_incarnation").fetchall() == [(0, "")]
    assert [file.name for file in target.iterdir()] == ["gateway.sqlite3"]


def connect() -> None:
    """Opens a connection as the pool does."""
    import_string("core_app.postgresql.PromptConnection").connect(**connection.pool.kwargs).close()  # type: ignore[attr-defined]


def connect_anew() -> int:
    """Opens a connection, and returns the generation after that."""
    connect()
    return generation()


@ON_POSTGRESQL
def test_a_new_connection_to_the_same_database_begins_nothing() -> None:
    start()
    assert connect_anew() == 0


@ON_POSTGRESQL
def test_a_new_connection_to_another_database_begins_a_generation_before_it_is_used() -> None:
    start()
    Incarnation.objects.update(identity="7-1-2-00000001")
    assert connect_anew() == 1
    assert connect_anew() == 1


@ON_POSTGRESQL
def test_a_new_connection_after_a_crash_begins_a_generation() -> None:
    """A crash empties the unlogged table, which the test does here."""
    start()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE events_app_incarnationmark")
    assert connect_anew() == 1
    assert start() == 1


@ON_POSTGRESQL
def test_the_table_of_the_mark_is_unlogged() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence FROM pg_class WHERE relname = 'events_app_incarnationmark'")
        assert cursor.fetchone() == ("u",)


@ON_POSTGRESQL
def test_a_database_that_no_process_has_served_yet_has_nothing_to_compare() -> None:
    connect()
    assert not Incarnation.objects.exists()
