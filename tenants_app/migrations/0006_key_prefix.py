"""Room for the code of a cell in the prefix by which a key is recognised."""

from __future__ import annotations

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):
    dependencies = [("tenants_app", "0005_usage_estimated")]

    operations = [migrations.AlterField("apikey", "prefix", models.CharField(db_index=True, max_length=24))]
