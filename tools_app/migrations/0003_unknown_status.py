from typing import Any

from django.db import migrations, models


class AddUnvalidated(migrations.AddConstraint):
    """Adds the constraint at once. PostgreSQL checks the rows that exist in the next migration, without a lock that
    writers wait for."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        schema_editor.execute(f"{self.constraint.create_sql(model, schema_editor)} NOT VALID", params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("tools_app", "0002_removal_indexes"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="toolcall",
            name="call_settled_has_an_outcome",
        ),
        AddUnvalidated(
            model_name="toolcall",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("state", "settled"), _negated=True),
                        ("result__isnull", True),
                        ("settled_at__isnull", True),
                        ("status__isnull", True),
                    ),
                    models.Q(
                        ("result__isnull", False),
                        ("settled_at__isnull", False),
                        ("state", "settled"),
                        ("status__in", ["ok", "error", "rejected", "timeout", "unknown"]),
                        ("status__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="call_settled_has_an_outcome",
            ),
        ),
    ]
