"""Waits of runs for a model provider that cannot be asked: at an outage, a rate limit, an open circuit.

The leg ends and the run holds nothing: no lease, no task, no thread. Its row says when the next leg may start, and the
sweep of any process starts it. The pauses grow up to a minute; when GATEWAY_PROVIDER_OUTAGE_SECONDS have passed since
the last progress, the run fails. Waits are no deaths: they do not count for GATEWAY_MAX_ATTEMPTS.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from agents_app.engine import Failed
from core_app import clock
from core_app.database import database_moment, write_transaction
from core_app.metrics import PROVIDER_WAITS
from events_app import log
from events_app.lease import Fence
from sessions_app.events import ProviderWaiting
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.services.run_end import run_fail
from sessions_app.services.run_pause import run_pause

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
"""Seconds. A pause doubles up to the longest one, with a jitter of a quarter, so that the runs of an outage do not all
ask at once when it ends. A provider that asks for more gets more."""


def run_put_back(*, session: AgentSession, run: Run, failed: Failed, fence: Fence) -> None:
    """Lets the run wait for its provider (`provider_waiting`), or ends it if it may not wait any longer. The caller
    holds the stream's lock."""
    moment = database_moment()
    since = run.outage_since or moment
    left = _seconds_left(session, since, moment)
    if left <= 0:
        _fail(session, run, failed, None if run.outage_since is None else (moment - since).total_seconds(), fence)
        return
    until = moment + timedelta(seconds=min(_pause(run.outage_tries, failed.resume_after or 0.0), left))
    run.resume_at, run.outage_since, run.outage_reason = until, since, failed.reason
    run.outage_tries += 1
    run.save(update_fields=["resume_at", "outage_since", "outage_reason", "outage_tries"])
    event = ProviderWaiting(until=clock.iso_ms(until), reason=failed.reason)
    log.append(session.stream_id, [event], run_id=run.pk, fence=fence)
    run_pause(session, run, RunState.WAITING)
    transaction.on_commit(PROVIDER_WAITS.labels("waiting").inc)


def runs_resume(limit: int = 500) -> int:
    """Makes runs ready whose pause is over, `limit` per transaction. Returns their number."""
    due = Run.objects.filter(state=RunState.WAITING, resume_at__lte=Now()).order_by("resume_at")
    resumed = 0
    # Looked for first, because every round of every sweep asks, and hardly ever is there one.
    while due.exists():
        with write_transaction():
            # Runs that somebody is just ending are skipped; the next round looks again.
            keys = list(due.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit])
            Run.objects.filter(pk__in=keys).update(state=RunState.READY)
        resumed += len(keys)
        if len(keys) < limit:
            break
    return resumed


def _seconds_left(session: AgentSession, since: datetime, moment: datetime) -> float:
    if session.outage_policy != "wait":
        return 0.0
    limit: int = settings.GATEWAY_PROVIDER_OUTAGE_SECONDS
    return limit - (moment - since).total_seconds()


def _pause(tries: int, asked: float) -> float:
    pause = min(FIRST_PAUSE * 2 ** min(tries, 10), LONGEST_PAUSE)
    return float(max(asked, pause * (0.75 + random.random() / 2)))  # noqa: S311


def _fail(session: AgentSession, run: Run, failed: Failed, waited: float | None, fence: Fence) -> None:
    reason = failed.reason
    if waited is not None:
        reason = f"{reason} The run has waited for it for {waited:.0f} s (GATEWAY_PROVIDER_OUTAGE_SECONDS)."
        transaction.on_commit(PROVIDER_WAITS.labels("failed").inc)
    run_fail(session=session, run=run, code=failed.code, reason=reason, retryable=failed.retryable, fence=fence)
