"""A mark on calls that an external agent addressed to the connected client."""

from __future__ import annotations

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):
    dependencies = [("tools_app", "0004_unknown_status_checked")]

    # The database has the default too, because processes of the version before insert rows without the column.
    operations = [
        migrations.AddField(
            model_name="toolcall",
            name="for_client",
            field=models.BooleanField(default=False, db_default=False),
        )
    ]
