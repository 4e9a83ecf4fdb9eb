"""Columns of remembered approvals."""

from __future__ import annotations

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):
    dependencies = [("tools_app", "0007_mcp_servers")]

    # The database has the default too, because processes of the version before insert rows without the column.
    operations = [
        migrations.AddField(
            model_name="toolcall",
            name="remembered",
            field=models.BooleanField(default=False, db_default=False),
        ),
        migrations.AddField(
            model_name="toolcall", name="target_mark", field=models.CharField(max_length=64, null=True)
        ),
    ]
