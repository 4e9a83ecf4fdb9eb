"""Tokens that are there get the streams of their sessions, and the model goes to `events_app`; the table stays."""

from django.db import migrations

from core_app.online_migrations import OnlineMigration, UpdateInBatches


class Migration(OnlineMigration):
    atomic = False

    dependencies = [
        ('sessions_app', '0012_stream_token_stream'),
    ]

    operations = [
        UpdateInBatches(
            "UPDATE sessions_app_streamtoken SET stream_id = (SELECT s.stream_id FROM sessions_app_agentsession s"
            " WHERE s.id = sessions_app_streamtoken.session_id) WHERE id IN (SELECT t.id FROM sessions_app_streamtoken t"
            " JOIN sessions_app_agentsession s ON s.id = t.session_id WHERE t.stream_id IS NULL LIMIT %s)"
        ),
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel(name='StreamToken')]),
    ]
