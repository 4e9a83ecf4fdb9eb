"""The API of a stored response: completions of Chat and Messages in the background are rows, too."""

from __future__ import annotations

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):
    dependencies = [("responses_app", "0001_stored_responses")]

    operations = [
        migrations.AddField(
            model_name="storedresponse",
            name="kind",
            field=models.CharField(db_default="responses", default="responses", max_length=10),
        ),
    ]
