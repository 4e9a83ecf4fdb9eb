"""Adds the times of a run, from its prompt to its first output and to its end."""

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('sessions_app', '0019_jobs_without_notify'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='duration_ms',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='run',
            name='first_output_ms',
            field=models.BigIntegerField(null=True),
        ),
    ]
