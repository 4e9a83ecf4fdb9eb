"""Room for the code of a cell in the prefix by which a key is recognised."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants_app", "0005_usage_estimated")]

    operations = [migrations.AlterField("apikey", "prefix", models.CharField(db_index=True, max_length=24))]
