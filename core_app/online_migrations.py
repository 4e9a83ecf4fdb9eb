"""Migrations that run beside a serving gateway: indexes without stopping writers, short locks, updates in batches.

On PostgreSQL a statement that waits for a table's lock makes everything behind it wait too, so an `OnlineMigration`
waits LOCK_SECONDS at most and then tries again from its beginning. Indexes are made concurrently, constraints are added
unchecked and then validated, and rows are updated some thousand at a time. SQLite serves one process, which is stopped
for an upgrade; there the operations do the same in Django's way. tests/project/test_migrations.py refuses others.
"""

from __future__ import annotations

import time
from typing import Any

from django.db import OperationalError, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddConstraint, AddIndex, Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from core_app.database_errors import database_busy

LOCK_SECONDS = 2
ATTEMPTS = 30
PAUSE_SECONDS = 2.0
"""Pause between attempts, in which those who waited behind the migration go on."""


class OnlineMigration(Migration):
    """The base of every migration. One with an operation that cannot run in a transaction sets `atomic = False` and has
    nothing else, since it may be repeated."""

    def apply(
        self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False
    ) -> ProjectState:
        """Applies the operations, again if a lock was not free in time."""
        if collect_sql or schema_editor.connection.vendor != "postgresql":
            return super().apply(project_state, schema_editor, collect_sql)
        deferred = list(schema_editor.deferred_sql)
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, %s)", [f"{LOCK_SECONDS}s", self.atomic])
        try:
            return self._attempt_again(project_state, schema_editor, deferred)
        finally:
            if not self.atomic:
                # Who uses the connection next has the time-out of its settings.
                with schema_editor.connection.cursor() as cursor:
                    cursor.execute("RESET lock_timeout")

    def _attempt_again(
        self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, deferred: list[Any]
    ) -> ProjectState:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(project_state.clone(), schema_editor)
            except OperationalError as error:
                if attempt == ATTEMPTS or not database_busy(error):
                    raise
            schema_editor.deferred_sql[:] = deferred
            time.sleep(PAUSE_SECONDS)
        raise AssertionError("The last attempt returned or raised.")

    def _attempt(self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor) -> ProjectState:
        if not self.atomic:
            return super().apply(project_state, schema_editor)
        # The end of a savepoint that failed releases the locks that were taken in it.
        with transaction.atomic(schema_editor.connection.alias):
            state = super().apply(project_state, schema_editor)
            while schema_editor.deferred_sql:
                schema_editor.execute(schema_editor.deferred_sql.pop(0))
            return state


class AddIndexOnline(AddIndex):
    """Makes an index while others write. Its migration is not atomic."""

    atomic = False

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Makes the index; one that an attempt before left unfinished is made anew."""
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            # It waits for transactions that began before it, and nobody waits for it.
            schema_editor.execute("SET lock_timeout = 0")
            name = schema_editor.quote_name(self.index.name)
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            schema_editor.add_index(model, self.index, concurrently=True)
            schema_editor.execute("RESET lock_timeout")

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Removes the index."""
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.remove_index(model, self.index, concurrently=True)


class AddCheckOnline(AddConstraint):
    """Adds a check that new rows obey at once; rows that are there are read without a lock that stops writers."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Adds the check unvalidated; `ValidateCheck`, in a migration of its own, reads the rows."""
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(schema_editor.connection.alias, model):
            statement = self.constraint.create_sql(model, schema_editor)
            schema_editor.execute(f"{statement} NOT VALID", params=None)


class ValidateCheck(Operation):
    """Validates a check that `AddCheckOnline` added in a migration before."""

    reversible = True

    def __init__(self, model_name: str, name: str) -> None:
        self.model_name = model_name
        self.name = name

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Changes nothing."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Reads the rows; others write meanwhile."""
        if schema_editor.connection.vendor == "postgresql":
            table = to_state.apps.get_model(app_label, self.model_name)._meta.db_table
            quote = schema_editor.quote_name
            schema_editor.execute(f"ALTER TABLE {quote(table)} VALIDATE CONSTRAINT {quote(self.name)}")

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Does nothing."""

    def describe(self) -> str:
        """Returns the line that `migrate` shows."""
        return f"Validate constraint {self.name} on model {self.model_name}"


class PostgresqlStatement(Operation):
    """A statement on the schema that only PostgreSQL has. It changes no rows."""

    reversible = True

    def __init__(self, forwards: str, backwards: str) -> None:
        self.forwards = forwards
        self.backwards = backwards

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Changes nothing."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Executes the statement."""
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(self.forwards)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Executes the other statement."""
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(self.backwards)

    def describe(self) -> str:
        """Returns the line that `migrate` shows."""
        return self.forwards.partition("(")[0]


class UpdateInBatches(Operation):
    """Repeats an UPDATE of some rows, each time in a transaction of its own, until it finds none. Its migration is not
    atomic. `sql` has one parameter, the number of rows: `… WHERE id IN (SELECT id … LIMIT %s)`."""

    atomic = False
    reversible = True
    reduces_to_sql = False
    ROWS = 2000

    def __init__(self, sql: str) -> None:
        self.sql = sql

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Changes nothing."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Updates all rows."""
        while True:
            with schema_editor.connection.cursor() as cursor:
                cursor.execute(self.sql, [self.ROWS])
                if cursor.rowcount < self.ROWS:
                    return

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Does nothing."""

    def describe(self) -> str:
        """Returns the line that `migrate` shows."""
        return "Update rows in batches"
