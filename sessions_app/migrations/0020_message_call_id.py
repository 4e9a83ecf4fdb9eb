"""Ids of imported calls, which other gateways and providers make as long as they like."""

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [('sessions_app', '0019_jobs_without_notify')]

    operations = [
        migrations.AlterField('message', 'call_id', models.CharField(max_length=200, null=True)),
    ]
