"""Generations of positions: `events_app.generations` and `events_app.incarnation`."""

from __future__ import annotations

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

import core_app.clock


def mark_create(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Creates the table that PostgreSQL empties after a crash."""
    if editor.connection.vendor == "postgresql":
        editor.execute("CREATE UNLOGGED TABLE events_app_incarnationmark (n bigint NOT NULL)")


def mark_drop(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute("DROP TABLE events_app_incarnationmark")


class Migration(migrations.Migration):
    dependencies = [("events_app", "0005_stream_token")]

    operations = [
        migrations.CreateModel(
            name="Incarnation",
            fields=[
                ("n", models.BigIntegerField(primary_key=True, serialize=False)),
                ("identity", models.TextField()),
                ("began_at", models.DateTimeField(default=core_app.clock.now)),
            ],
        ),
        migrations.AddField("stream", "generation", models.BigIntegerField(db_default=0, default=0)),
        migrations.AddField("stream", "bases", models.TextField(db_default="", default="")),
        migrations.AddField("webhookdelivery", "generation", models.BigIntegerField(db_default=0, default=0)),
        migrations.RunPython(mark_create, mark_drop),
    ]
