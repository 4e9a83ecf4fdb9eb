from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from core_app.online_migrations import OnlineMigration

SQLITE = [
    "CREATE VIRTUAL TABLE mesh_search USING fts5("
    "terms, content='mesh_searchentry', content_rowid='id', tokenize='ascii')",
    "CREATE TRIGGER mesh_search_insert AFTER INSERT ON mesh_searchentry BEGIN"
    " INSERT INTO mesh_search(rowid, terms) VALUES (new.id, new.terms); END",
    "CREATE TRIGGER mesh_search_delete AFTER DELETE ON mesh_searchentry BEGIN"
    " INSERT INTO mesh_search(mesh_search, rowid, terms) VALUES ('delete', old.id, old.terms); END",
    "CREATE TRIGGER mesh_search_update AFTER UPDATE OF terms ON mesh_searchentry BEGIN"
    " INSERT INTO mesh_search(mesh_search, rowid, terms) VALUES ('delete', old.id, old.terms);"
    " INSERT INTO mesh_search(rowid, terms) VALUES (new.id, new.terms); END",
]
# The table is new and empty: neither statement keeps anybody waiting.
POSTGRESQL = [
    "ALTER TABLE mesh_searchentry ADD COLUMN document tsvector GENERATED ALWAYS AS (terms::tsvector) STORED",
    "CREATE INDEX mesh_search ON mesh_searchentry USING gin (document)",
]
SQLITE_BACK = [
    "DROP TRIGGER mesh_search_insert",
    "DROP TRIGGER mesh_search_delete",
    "DROP TRIGGER mesh_search_update",
    "DROP TABLE mesh_search",
]


class CreateSearchIndex(Operation):
    """Creates the full-text index over the table that the migration before has made, in the database's own way."""

    reversible = True

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Models know nothing of it."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        for statement in POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE:
            schema_editor.execute(statement)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute("ALTER TABLE mesh_searchentry DROP COLUMN document")
        else:
            for statement in SQLITE_BACK:
                schema_editor.execute(statement)

    def describe(self) -> str:
        return "Create the full-text index of spaces"


class Migration(OnlineMigration):
    dependencies = [("mesh", "0001_initial")]

    operations = [CreateSearchIndex()]
