"""A write transaction that ends without an error was committed, whatever happened to its connection."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, ProgrammingError, connection, transaction
from django.test import RequestFactory
from rest_framework.request import Request
from rest_framework.response import Response

from core_app.database import DatabaseBusy, TransactionLost, database_unavailable, read_only_check, write_transaction
from edge_app.rest.errors import exception_handler
from tenants_app.models import Tenant
from tenants_app.services import tenant_create
from tests.settings import DEPLOYMENT

pytestmark = pytest.mark.django_db(transaction=True)


class AlreadyThere(Exception):
    """An exception that is caught around a savepoint, like that of a job that is queued already."""


def test_a_savepoint_that_cannot_be_undone_fails_the_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_rollback(sid: str) -> None:
        raise OperationalError("the connection is lost")

    def work() -> None:
        with write_transaction():
            tenant_create(slug="acme")
            with monkeypatch.context() as patch, contextlib.suppress(AlreadyThere), transaction.atomic():
                patch.setattr(connection, "savepoint_rollback", fail_rollback)
                raise AlreadyThere

    nothing_is_kept(work)


def test_a_transaction_in_another_fails_both() -> None:
    def work() -> None:
        with write_transaction():
            tenant_create(slug="acme")
            with write_transaction():
                transaction.set_rollback(True)

    nothing_is_kept(work)


def nothing_is_kept(work: Callable[[], None]) -> None:
    """Asserts that the work fails and is rolled back."""
    with pytest.raises(OperationalError, match="nothing is kept"):
        work()
    connection.close()
    assert not Tenant.objects.exists()


def test_a_savepoint_that_is_undone_costs_nothing_else() -> None:
    with write_transaction():
        tenant_create(slug="acme")
        with contextlib.suppress(AlreadyThere), transaction.atomic():
            tenant_create(slug="rival")
            raise AlreadyThere
    assert [tenant.slug for tenant in Tenant.objects.all()] == ["acme"]


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="a connection to PostgreSQL is cut")
def test_a_connection_that_is_cut_while_an_error_is_caught_fails_the_transaction() -> None:
    def work() -> None:
        with write_transaction():
            tenant_create(slug="acme")
            with contextlib.suppress(AlreadyThere), transaction.atomic():
                backend_end()
                raise AlreadyThere

    nothing_is_kept(work)


def chain(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def response_to(error: Exception) -> Response:
    """The response of a view that raises `error`."""
    return exception_handler(error, {"request": Request(RequestFactory().get("/v1/sessions"))})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TransactionLost("lost"), 503),
        (chain(OperationalError("x"), psycopg.OperationalError("server closed the connection unexpectedly")), 503),
        (chain(OperationalError("x"), psycopg.errors.AdminShutdown("terminating connection")), 503),
        (chain(OperationalError("x"), psycopg.errors.TooManyConnections("too many clients already")), 503),
        (chain(InterfaceError("x"), psycopg.InterfaceError("the connection is closed")), 503),
        (chain(InternalError("x"), psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE")), 503),
        (chain(OperationalError("x"), psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")), 503),
        (DatabaseBusy("held"), 503),
        (chain(InternalError("x"), psycopg.errors.IdleInTransactionSessionTimeout("terminating connection")), 503),
        (chain(OperationalError("x"), psycopg.errors.DeadlockDetected("deadlock detected")), 500),
        (chain(OperationalError("x"), sqlite3.OperationalError("no such table: t")), 500),
        (chain(ProgrammingError("x"), psycopg.errors.UndefinedTable("no such relation")), 500),
        (RuntimeError("a bug"), 500),
    ],
)
def test_that_the_database_is_away_is_no_fault_of_the_gateway(error: Exception, status: int) -> None:
    answer = response_to(error)
    assert answer.status_code == status
    assert answer.data["error"] == ("unavailable" if status == 503 else "internal_error")
    assert ("errorId" in answer.data) == (status == 500)
    assert ("Retry-After" in answer.headers) == (status == 503)


@pytest.mark.parametrize("circumstance", ["full", "held", "read only"])
def test_a_file_that_sqlite_cannot_write_now_is_no_fault_of_the_gateway(tmp_path: Path, circumstance: str) -> None:
    path = tmp_path / "file.sqlite3"
    with (
        contextlib.closing(sqlite3.connect(path, timeout=0)) as mine,
        contextlib.closing(sqlite3.connect(path)) as other,
    ):
        mine.execute("CREATE TABLE t (x)")
        if circumstance == "full":
            mine.execute("PRAGMA max_page_count = 2")
        elif circumstance == "held":
            other.execute("BEGIN IMMEDIATE")
        else:
            mine.execute("PRAGMA query_only = 1")
        with pytest.raises(sqlite3.OperationalError) as raised:
            mine.execute("INSERT INTO t VALUES (zeroblob(100000))")
    answer = response_to(chain(OperationalError(str(raised.value)), raised.value))
    assert (answer.status_code, answer.data["error"]) == (503, "unavailable")


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="a connection to PostgreSQL is cut")
def test_a_connection_that_is_cut_says_that_the_database_is_away() -> None:
    backend_end()
    with pytest.raises((OperationalError, InterfaceError)) as raised:
        Tenant.objects.exists()
    connection.close()
    assert database_unavailable(raised.value)


def backend_end() -> None:
    """Terminates the server's side of this thread's connection."""
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    given = settings.DATABASES["default"]
    with psycopg.connect(
        host=given["HOST"],
        port=given["PORT"],
        user=given["USER"],
        password=given["PASSWORD"] or None,
        dbname=given["NAME"],
    ) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.fixture
def demoted() -> Iterator[None]:
    """A server that is a standby from now on for connections that are open: writes are refused (25006)."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    yield
    connection.close()


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="SQLite has no standby")
def test_a_server_that_was_demoted_loses_its_connections_and_writes_go_on(demoted: None) -> None:
    """Before, the client got 500, and the connection went back to its pool as good, for up to an hour."""
    connection.ensure_connection()
    former = connection.connection.info.backend_pid
    with pytest.raises(InternalError) as raised, write_transaction():
        tenant_create(slug="acme")
    assert database_unavailable(raised.value)
    with write_transaction():
        tenant_create(slug="acme")
    assert connection.connection.info.backend_pid != former
    assert Tenant.objects.count() == 1


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="SQLite has no standby")
def test_a_process_that_only_reads_notices_a_demotion_too(demoted: None) -> None:
    assert read_only_check()
    assert not read_only_check()
