"""Redaction: replaces what one end user said in a session that others also spoke in; the conversation keeps its shape.

Rows are changed in batches under short locks. What names the end user is changed last, and with the end of the mark
(`sessions_app.services.erasure_mark`), so that a redaction that was interrupted is found and completed by the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Q, QuerySet

from agents_app.engine import CUT_MARK
from core_app import jsontext
from core_app.batch_size import BatchSizer
from core_app.database import write_transaction
from core_app.lifecycle import process_wide
from events_app import log
from events_app.removal import run_events_replace
from events_app.webhooks.removal import run_deliveries_remove
from sessions_app.models import AgentSession, Message, Run, SteeringNote
from sessions_app.selectors import runs_unfinished
from sessions_app.services.attachments import attachments_remove
from sessions_app.services.erasure_mark import sessions_mark
from sessions_app.services.run_end import run_stop
from tools_app.models import ToolCall

BATCH = 500
BATCH_SIZE = process_wide(BatchSizer(), reset=BatchSizer.reset)

ERASED = "[erased]"


def session_redact(session: AgentSession, end_user: str) -> int:
    """Redacts the end user's runs, and the user's messages that were copied by a fork or imported. Returns the number
    of runs."""
    sessions_mark([session.pk])
    runs: set[str] = set()
    messages: set[str] = set()
    cuts_through = 0
    while True:
        for run_id in _new_keys(Run.objects.filter(session=session, end_user=end_user), runs):
            _redact_run(session, run_id)
            runs.add(run_id)
        own = Message.objects.filter(session=session, run__isnull=True, end_user=end_user)
        _redact_messages(session, found := _new_keys(own, messages))
        messages.update(found)
        cuts_through = _forget_cuts(session, cuts_through)
        if _finish(session, end_user, runs, messages, cuts_through):
            return len(runs)


def _new_keys(rows: QuerySet[Any], known: set[str]) -> list[str]:
    return [key for key in rows.values_list("pk", flat=True) if key not in known]


def _finish(session: AgentSession, end_user: str, runs: set[str], messages: set[str], cuts_through: int) -> bool:
    """Forgets whose runs and messages these were, and ends the mark. False when more came meanwhile.

    All but one batch are forgotten before, because the last ones are found with the mark.
    """
    own_runs = Run.objects.filter(session=session, end_user=end_user)
    own_messages = Message.objects.filter(session=session, run__isnull=True, end_user=end_user)
    for rows, done in ((own_runs, runs), (own_messages, messages)):
        for keys in list(_chunks(sorted(done)))[1:]:
            _update(session, rows.filter(pk__in=keys), end_user=None)
    with write_transaction():
        log.lock(session.stream_id)
        if _new_keys(own_runs, runs) or _new_keys(own_messages, messages):
            return False
        own_runs.update(end_user=None)
        own_messages.update(end_user=None)
        _cuts(session, cuts_through).update(payload=None)
        AgentSession.objects.filter(pk=session.pk).update(kept_from=None, kept_for=None, erasing_at=None)
    return True


def _redact_run(session: AgentSession, run_id: str) -> None:
    with write_transaction():
        log.lock(session.stream_id)
        for run in runs_unfinished(session.pk).filter(pk=run_id):
            run_stop(session=session, run=run, reason="deleted", message="The end user was erased.")
        Run.objects.filter(pk=run_id).update(text=ERASED, last_message=None, metadata="{}")
        Run.objects.filter(pk=run_id, error_reason__isnull=False).update(error_reason=ERASED)
        SteeringNote.objects.filter(run_id=run_id).update(text=ERASED)
    attachments_remove(Q(run_id=run_id))
    _redact_messages(session, list(Message.objects.filter(run_id=run_id).values_list("pk", flat=True)))
    _redact_calls(session, run_id)
    first, last = Run.objects.values_list("first_offset", "last_offset").get(pk=run_id)
    assert last is not None  # the run has ended
    erased = jsontext.encode_text({"erased": True, "requestId": run_id})
    run_events_replace(stream_id=session.stream_id, run_id=run_id, first=first, last=last, data=erased)
    with write_transaction():
        log.lock(session.stream_id)
        run_deliveries_remove(stream_id=session.stream_id, run_id=run_id, first=first, last=last)


def _redact_messages(session: AgentSession, keys: Sequence[str]) -> None:
    """Redacts contents and arguments, and removes attachments. The calls themselves stay, so that calls and results
    still match."""
    for some in _chunks(keys):
        rows = Message.objects.filter(pk__in=some)
        attachments_remove(Q(message__in=some))
        with write_transaction(), BATCH_SIZE.measure(BATCH):
            log.lock(session.stream_id)
            for pk, text in list(rows.filter(calls__isnull=False).values_list("pk", "calls")):
                calls = [{**call, "arguments": {}} for call in jsontext.decode(text or "[]")]
                Message.objects.filter(pk=pk).update(calls=jsontext.encode_text(calls))
            rows.update(content=ERASED, payload=None)


def _redact_calls(session: AgentSession, run_id: str) -> None:
    """Redacts arguments, comments and results of the run's tool calls."""
    made = ToolCall.objects.filter(run_id=run_id, stream_id=session.stream_id)
    _update(session, made, args="{}", decided_args=None, comment=None, question=None, options=None)
    _update(session, made.filter(result__isnull=False), result=ERASED)


def _forget_cuts(session: AgentSession, after: int) -> int:
    """Removes payloads that may contain the summary of a cut, since it may repeat what any end user said. Returns the
    number of the last message that was looked at."""
    last = AgentSession.objects.values_list("message_count", flat=True).get(pk=session.pk)
    while after < last:
        end = min(last, after + BATCH_SIZE.limit(BATCH))
        with write_transaction(), BATCH_SIZE.measure(BATCH):
            _cuts(session, after).filter(number__lte=end).update(payload=None)
        after = end
    return after


def _cuts(session: AgentSession, after: int) -> QuerySet[Message]:
    return Message.objects.filter(session=session, number__gt=after, payload__contains=CUT_MARK)


def _update(session: AgentSession, rows: QuerySet[Any], **values: str | None) -> None:
    manager: Any = rows.model._default_manager
    for keys in _chunks(list(rows.values_list("pk", flat=True))):
        with write_transaction(), BATCH_SIZE.measure(BATCH):
            log.lock(session.stream_id)
            manager.filter(pk__in=keys).update(**values)


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yields the keys a batch at a time, as many as the duration of the batches before allows."""
    start = 0
    while start < len(keys):
        size = BATCH_SIZE.limit(BATCH)
        yield keys[start : start + size]
        start += size
