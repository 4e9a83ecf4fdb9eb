"""Fixtures of all tests: two tenants, and three callers with keys to them."""

from __future__ import annotations

import ast
import functools
import gc
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection, connections
from django.test import TransactionTestCase
from hypothesis import settings as hypothesis_settings

from core_app import database
from core_app.lifecycle import reset_process_wide
from tenants_app.authentication import principal_for_secret
from tenants_app.models import Tenant
from tenants_app.principal import SCOPES, Principal
from tenants_app.services import api_key_issue, tenant_create
from tests.kept import threads_rest

# The same examples in every run: a search for new ones is a run of its own (GATEWAY_TEST_FUZZ=thorough).
hypothesis_settings.register_profile("gateway", derandomize=True, deadline=None)
hypothesis_settings.load_profile("gateway")


# A test makes much that is gone with it; Python's own threshold would go through it every 700 objects, a twentieth of
# the tests' processor time.
gc.set_threshold(20_000, 20, 20)


def _parse_in_turn() -> None:
    """Lets one thread at a time call `ast.parse`, and no finalizer meanwhile. CPython 3.11 counts the depth of all
    trees in one place, and raises SystemError when two are built at once (gh-106905): Schemathesis parses in a thread
    of its own while Hypothesis does in the test's, and a finalizer whose error is shown parses its traceback's lines.
    """
    parse, turn = ast.parse, threading.RLock()

    @functools.wraps(parse)
    def parse_in_turn(*arguments: Any, **options: Any) -> Any:
        with turn:
            collects = gc.isenabled()
            gc.disable()
            try:
                return parse(*arguments, **options)
            finally:
                if collects:
                    gc.enable()

    ast.parse = parse_in_turn


if sys.version_info < (3, 13):
    _parse_in_turn()


def _end_other_sessions_before_a_drop() -> None:
    """Ends the sessions that still use a test database when it is dropped. A thread that the pool's end did not wait
    for has one, and PostgreSQL refuses to drop a database in use."""
    creation: Any = type(connection.creation)
    drop = creation._destroy_test_db

    def end_and_drop(self: Any, test_database_name: str, verbosity: int) -> None:
        self.connection.close_pool()
        with self._nodb_cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [test_database_name]
            )
        drop(self, test_database_name, verbosity)

    creation._destroy_test_db = end_and_drop


if connection.vendor == "postgresql":
    _end_other_sessions_before_a_drop()


KEPT = frozenset({"django_content_type", "auth_permission"})
"""Tables that migrations fill and no test changes."""


@pytest.fixture(autouse=True, scope="session")
def _tables_emptied_row_by_row() -> Iterator[None]:
    """Deletes the few rows that a test leaves. Django's TRUNCATE creates new files for every table and index, each with
    an fsync, which takes 1 s a test on PostgreSQL, and fills the tables of permissions again, 30 ms a test on both."""
    known: dict[str, list[str]] = {}

    def delete_rows(self: Any) -> None:
        for name in self._databases_names(include_mirrors=False):
            operations, introspection = connections[name].ops, connections[name].introspection
            if name not in known:
                tables = sorted(set(introspection.django_table_names(only_existing=True)) - KEPT)
                known[name] = [f"DELETE FROM {operations.quote_name(table)}" for table in tables]
            joined = connections[name].vendor == "postgresql"
            operations.execute_sql_flush(["; ".join(known[name])] if joined else known[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", delete_rows)
        if connection.vendor == "sqlite":
            # No test changes how the connection is set; PostgreSQL's goes back to its pool.
            patch.setattr(TransactionTestCase, "_should_reload_connections", lambda self: False)
        yield
    database.shutdown()


@dataclass(frozen=True)
class Caller:
    """A caller with an API key; `headers` are for Django's and httpx's clients alike."""

    secret: str
    principal: Principal

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.secret}


@pytest.fixture(autouse=True)
def _nothing_stays_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    if not _has_database(request):
        # Threads that are kept have connections, which a test without a database may not even close.
        database.shutdown()
    reset_process_wide()
    yield
    threads_rest()
    reset_process_wide()


def _has_database(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker("django_db") is not None or not {"db", "transactional_db"}.isdisjoint(
        request.fixturenames
    )


@pytest.fixture
def tenant(db: None) -> Tenant:
    return tenant_create(slug="acme")


@pytest.fixture
def other_tenant(db: None) -> Tenant:
    return tenant_create(slug="rival")


@pytest.fixture
def owner(tenant: Tenant) -> Caller:
    """A key of `tenant` with every scope."""
    return caller(tenant, SCOPES)


@pytest.fixture
def colleague(tenant: Tenant) -> Caller:
    """A key of the same tenant without any scope."""
    return caller(tenant, ())


@pytest.fixture
def stranger(other_tenant: Tenant) -> Caller:
    """A key of another tenant with every scope."""
    return caller(other_tenant, SCOPES)


def caller(tenant: Tenant, scopes: Iterable[str], *, rpm: int | None = None) -> Caller:
    """Issues a key of `tenant`; returns it with its principal."""
    issued = api_key_issue(tenant=tenant, name="test key", scopes=scopes, rpm=rpm)
    return Caller(issued.secret, principal_for_secret(issued.secret))
