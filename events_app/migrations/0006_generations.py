"""Generations of positions: `events_app.generations` and `events_app.incarnation`."""

from __future__ import annotations

from django.db import migrations, models

import core_app.clock
from core_app.online_migrations import OnlineMigration, PostgresqlStatement


class Migration(OnlineMigration):
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
        # The table that PostgreSQL empties after a crash.
        PostgresqlStatement(
            "CREATE UNLOGGED TABLE events_app_incarnationmark (n bigint NOT NULL)",
            "DROP TABLE events_app_incarnationmark",
        ),
    ]
