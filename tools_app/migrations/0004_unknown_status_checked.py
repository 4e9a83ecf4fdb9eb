from typing import Any

from django.db import migrations


def check_rows(apps: Any, schema_editor: Any) -> None:
    """Checks the rows that exist, while others read and write them. SQLite has done so already."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE tools_app_toolcall VALIDATE CONSTRAINT call_settled_has_an_outcome")


class Migration(migrations.Migration):
    dependencies = [
        ("tools_app", "0003_unknown_status"),
    ]

    operations = [
        migrations.RunPython(check_rows, migrations.RunPython.noop),
    ]
