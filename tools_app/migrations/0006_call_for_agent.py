"""A mark on calls that an external agent makes itself, and asks permission for."""

from __future__ import annotations

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):
    dependencies = [("tools_app", "0005_call_for_client")]

    # The database has the default too, because processes of the version before insert rows without the column.
    operations = [
        migrations.AddField(
            model_name="toolcall",
            name="for_agent",
            field=models.BooleanField(default=False, db_default=False),
        )
    ]
