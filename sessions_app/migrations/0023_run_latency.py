"""Adds the times of a run, from its prompt to its first output and to its end."""

from django.db import migrations, models

from core_app.online_migrations import OnlineMigration


class Migration(OnlineMigration):

    dependencies = [
        ('sessions_app', '0022_run_by_end_user'),
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
