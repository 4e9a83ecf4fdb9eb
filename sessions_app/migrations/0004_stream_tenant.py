from django.db import migrations


class Migration(migrations.Migration):
    """Streams made before there were webhooks learn whose they are."""

    dependencies = [
        ("events_app", "0002_webhooks"),
        ("sessions_app", "0003_stream_token"),
    ]

    operations = [
        migrations.RunSQL(
            "UPDATE events_app_stream SET tenant_id = (SELECT s.tenant_id FROM sessions_app_agentsession s"
            " WHERE s.stream_id = events_app_stream.id) WHERE kind = 'session' AND tenant_id IS NULL",
            reverse_sql=migrations.RunSQL.noop,
        ),
    ]
