"""Room for new versions beside the old ones in the table whose rows every commit rewrites, and an eager vacuum."""

from core_app.online_migrations import OnlineMigration, PostgresqlStatement


class Migration(OnlineMigration):

    dependencies = [
        ('events_app', '0007_event_by_source'),
    ]

    operations = [
        PostgresqlStatement(
            "ALTER TABLE events_app_stream SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0)",
            "ALTER TABLE events_app_stream RESET (fillfactor, autovacuum_vacuum_scale_factor,"
            " autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay)",
        ),
    ]
