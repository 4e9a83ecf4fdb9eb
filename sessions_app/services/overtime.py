"""The end of runs that have exceeded their time and that no process has ended.

The runner ends a run at GATEWAY_MAX_RUN_SECONDS by cancelling its leg, which an engine may ignore while its lease is
kept. The sweep, which is another task and mostly another process, ends it a minute later as an abort does: the lease is
revoked, so the leg's further writes are refused.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError

from core_app import clock
from core_app.database import write_transaction
from core_app.log_lines import error_summary
from core_app.metrics import RUNS_OVERDUE
from events_app import log
from events_app.removal import GoOn
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.services.run_end import run_stop

GRACE_SECONDS = 60
"""Time for the process that executes the run to end it itself."""

logger = structlog.get_logger("gateway.sweep")


def runs_overdue_end(go_on: GoOn = lambda: True) -> int:
    """Ends the running runs that are past their limit and GRACE_SECONDS. Returns their number. One that cannot be ended
    now, such as one whose stream is locked, is left to the next round."""
    ended = 0
    for run_id, session_id in runs_overdue():
        if not go_on():
            break
        try:
            ended += _end(run_id, session_id)
        except DatabaseError as error:
            logger.warning("overdue_run_not_ended", run=run_id, error=error_summary(error))
    return ended


def runs_overdue() -> list[tuple[str, int]]:
    """Returns the runs to end, with their sessions."""
    limit = settings.GATEWAY_MAX_RUN_SECONDS + GRACE_SECONDS
    now = clock.now()
    started = Run.objects.filter(
        state=RunState.RUNNING,
        created_at__lte=now - timedelta(seconds=limit),
        leg_started_at__lte=now - timedelta(seconds=GRACE_SECONDS),
    )
    # The condition of the index `run_workable`, literally: SQLite uses a partial index only then.
    rows = started.extra(where=["state IN ('queued', 'ready', 'running')"])
    return [
        (run_id, session_id)
        for run_id, session_id, leg_started_at, active_ms in rows.values_list(
            "pk", "session_id", "leg_started_at", "active_ms"
        )
        if active_ms / 1000 + (now - leg_started_at).total_seconds() > limit
    ]


def _end(run_id: str, session_id: int) -> bool:
    with write_transaction():
        stream_id = AgentSession.objects.values_list("stream_id", flat=True).get(pk=session_id)
        log.lock(stream_id)
        # Looked for again: its leg may have ended meanwhile.
        if (run_id, session_id) not in runs_overdue():
            return False
        session, run = AgentSession.objects.get(pk=session_id), Run.objects.get(pk=run_id)
        seconds = settings.GATEWAY_MAX_RUN_SECONDS
        message = f"The run took longer than {seconds} s (GATEWAY_MAX_RUN_SECONDS)."
        run_stop(session=session, run=run, reason="timeout", message=message)
    RUNS_OVERDUE.inc()
    logger.warning("overdue_run_ended", session=session.public_id, run=run_id)
    return True
