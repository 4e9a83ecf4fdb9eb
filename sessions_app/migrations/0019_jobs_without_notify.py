"""The job table without Procrastinate's NOTIFY, which serialises commits (`sessions_app.legs.job_hints`), and with room
for its short-lived rows."""

from django.apps import apps

from core_app.online_migrations import OnlineMigration, PostgresqlStatement

_QUEUE = apps.is_installed('procrastinate.contrib.django')
_TRIGGERS = {
    'procrastinate_jobs_notify_queue_job_inserted_v1': (
        "AFTER INSERT ON procrastinate_jobs FOR EACH ROW WHEN (new.status = 'todo')"
        " EXECUTE PROCEDURE procrastinate_notify_queue_job_inserted_v1()"
    ),
    'procrastinate_jobs_notify_queue_job_aborted_v1': (
        "AFTER UPDATE OF abort_requested ON procrastinate_jobs FOR EACH ROW"
        " WHEN (old.abort_requested = false AND new.abort_requested = true AND new.status = 'doing')"
        " EXECUTE PROCEDURE procrastinate_notify_queue_abort_job_v1()"
    ),
}


class Migration(OnlineMigration):

    dependencies = [
        ('sessions_app', '0018_run_by_end'),
        *([('procrastinate', '0041_post_retry_failed_job')] if _QUEUE else []),
    ]

    operations = [
        *(
            PostgresqlStatement(
                f"DROP TRIGGER IF EXISTS {name} ON procrastinate_jobs", f"CREATE TRIGGER {name} {definition}"
            )
            for name, definition in _TRIGGERS.items()
        ),
        PostgresqlStatement(
            "ALTER TABLE procrastinate_jobs SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0)",
            "ALTER TABLE procrastinate_jobs RESET (fillfactor, autovacuum_vacuum_scale_factor,"
            " autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay)",
        ),
    ] if _QUEUE else []
