"""The end of background responses whose run ended otherwise than by its answer: cancelled, failed, out of time."""

from __future__ import annotations

from core_app.database import write_transaction
from events_app import log
from events_app.removal import GoOn
from responses_app.attempts import response_settle
from responses_app.models import UNFINISHED, ResponseStatus, StoredResponse
from responses_app.services import RUN_MARK
from sessions_app import models as sessions
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.run_observers import RunObserver
from sessions_app.services.session import session_finish

_CANCELLED = ("aborted", "deleted")
_CODES = {"rate_limited": "rate_limit_exceeded", "bad_request": "invalid_prompt"}
"""Codes of errors as clients of the API know them; all others are `server_error`."""


class ResponseRuns(RunObserver):
    """The observer of the runs of responses. It also closes their sessions, which have no second run."""

    marker = f'"{RUN_MARK}"'

    def run_ended(self, session: AgentSession, run: Run) -> None:
        """Settles the run's response in the same transaction."""
        row = StoredResponse.objects.filter(run_id=run.pk).first()
        if row is None:
            return
        if not row.finished:
            _settle(row, run)
        if session.closed_at is None:
            session_finish(session)


def responses_reconcile(go_on: GoOn) -> None:
    """Settles responses whose run has ended without them, or is gone: the observer failed, or the session was removed
    by another process."""
    unfinished = StoredResponse.objects.filter(status__in=UNFINISHED, background=True)
    busy = Run.objects.filter(state__in=sessions.UNFINISHED).values("pk")
    for pk in list(unfinished.exclude(run_id__in=busy).order_by("created_at").values_list("pk", flat=True)[:100]):
        if not go_on():
            return
        with write_transaction():
            row = StoredResponse.objects.select_for_update().filter(pk=pk, status__in=UNFINISHED).first()
            run = None if row is None else Run.objects.filter(pk=row.run_id).first()
            if row is None or (run is not None and run.state in sessions.UNFINISHED):
                continue
            if row.stream_id is not None:
                log.lock(row.stream_id)
            _settle(row, run)


def _settle(row: StoredResponse, run: Run | None) -> None:
    if run is None or run.end_reason in _CANCELLED:
        response_settle(row, ResponseStatus.CANCELLED, None)
        return
    code = _CODES.get(run.error_code or "", "server_error")
    message = run.error_reason or "The run ended without an answer."
    if run.state == RunState.ABORTED:
        message = f"The run was ended: {run.end_reason}."
    response_settle(row, ResponseStatus.FAILED, {"code": code, "message": message})
