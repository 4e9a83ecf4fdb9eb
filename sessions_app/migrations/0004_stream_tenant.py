from core_app.online_migrations import OnlineMigration, UpdateInBatches


class Migration(OnlineMigration):
    """Streams made before there were webhooks learn whose they are."""

    atomic = False

    dependencies = [
        ("events_app", "0002_webhooks"),
        ("sessions_app", "0003_stream_token"),
    ]

    operations = [
        UpdateInBatches(
            "UPDATE events_app_stream SET tenant_id = (SELECT s.tenant_id FROM sessions_app_agentsession s"
            " WHERE s.stream_id = events_app_stream.id) WHERE id IN (SELECT e.id FROM events_app_stream e"
            " JOIN sessions_app_agentsession s ON s.stream_id = e.id WHERE e.tenant_id IS NULL LIMIT %s)"
        ),
    ]
