"""Tokens that are there get the streams of their sessions, and the model goes to `events_app`; the table stays."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('sessions_app', '0012_stream_token_stream'),
    ]

    operations = [
        migrations.RunSQL(
            "UPDATE sessions_app_streamtoken SET stream_id = (SELECT s.stream_id FROM sessions_app_agentsession s"
            " WHERE s.id = sessions_app_streamtoken.session_id) WHERE stream_id IS NULL",
            reverse_sql=migrations.RunSQL.noop,
        ),
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel(name='StreamToken')]),
    ]
