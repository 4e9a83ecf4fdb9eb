"""Claiming, continuing, storing and removing threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Length

from core_app import jsontext
from core_app.database import database_moment, write_transaction
from core_app.errors import BadRequest
from core_app.ids import new_id
from inference_app.conversion import exact_json
from responses_app.services import MAX_MODEL
from responses_app.threads.errors import ThreadAlreadyContinued, ThreadContinueInFlight, ThreadNotFound
from responses_app.threads.models import MessageThread, ThreadTurn
from responses_app.threads.request import ThreadRequest, context_check
from tenants_app.principal import Principal

CLAIM_SECONDS = 120.0
"""The time after which the claim of a request whose process has died counts no more. It is renewed while one runs."""

PAUSED = "pause_turn"
"""The stop reason of an answer that goes on with the next request, which need not say anything."""

logger = structlog.get_logger("gateway.responses")


@dataclass(frozen=True, slots=True)
class Continued:
    """A thread that a request continues: its turns up to `number`, and the claim on it. `history` are lists of messages
    in JSON, oldest first; `context` the fields that the thread keeps, in JSON."""

    thread_pk: int
    number: int
    claim: str
    history: Sequence[str]
    context: Mapping[str, str]


def thread_continue(*, principal: Principal, request: ThreadRequest) -> Continued:
    """Claims the thread that the request continues, and reads it. Raises ThreadNotFound, ThreadAlreadyContinued,
    ThreadContinueInFlight, ThreadFingerprintMismatch, and BadRequest where it is too large."""
    assert request.previous_id is not None
    turns = ThreadTurn.objects.filter(tenant_id=principal.tenant_id, public_id=request.previous_id[:65])
    turn = turns.select_related("thread").only("number", "body", "thread__context").first()
    if turn is None:
        raise ThreadNotFound(request.previous_id)
    context: Mapping[str, str] = jsontext.decode(turn.thread.context)
    context_check(request.context, context)
    _size_check(turn)
    if request.says_nothing and jsontext.decode(turn.body).get("stop_reason") != PAUSED:
        raise BadRequest("'messages' must have at least one message.", field="messages")
    claim = _claim(turn, request.previous_id)
    return Continued(turn.thread_id, turn.number, claim, _history(turn), context)


def thread_renew(continued: Continued) -> None:
    """Renews the claim of a request that still runs."""
    until = database_moment() + timedelta(seconds=CLAIM_SECONDS)
    with write_transaction():
        _claimed(continued).update(claimed_until=until)


def thread_release(continued: Continued) -> None:
    """Gives the claim back: the thread is as it was, and may be continued again."""
    with write_transaction():
        _claimed(continued).update(claim=None, claimed_until=None)


def turn_store(
    *, principal: Principal, request: ThreadRequest, continued: Continued | None, message: Mapping[str, Any]
) -> None:
    """Stores a request with its answer. Nothing is stored of a thread that was removed meanwhile, or that another
    request has continued after this one's claim had run out."""
    with write_transaction():
        thread_pk = _create(principal, request, message) if continued is None else _advance(continued)
        if thread_pk is None:
            logger.info("thread_turn_not_stored", message_id=message["id"])
            return
        ThreadTurn.objects.create(
            tenant_id=principal.tenant_id,
            thread_id=thread_pk,
            number=1 if continued is None else continued.number + 1,
            public_id=message["id"],
            model=request.model[:MAX_MODEL],
            messages=request.own_messages,
            reply=exact_json.encode(message.get("content") or []).decode(),
            body=jsontext.encode_text({name: value for name, value in message.items() if name != "content"}),
        )


def threads_remove(keys: Sequence[int]) -> None:
    """Removes threads with their turns, a transaction for each."""
    for key in keys:
        with write_transaction():
            ThreadTurn.objects.filter(thread_id=key).delete()
            MessageThread.objects.filter(pk=key).delete()


def _create(principal: Principal, request: ThreadRequest, message: Mapping[str, Any]) -> int:
    row = MessageThread.objects.create(
        tenant_id=principal.tenant_id,
        api_key_id=principal.key_id,
        public_id=message["id"],
        context=jsontext.encode_text(dict(request.context)),
        last_number=1,
        end_user=request.end_user,
    )
    return int(row.pk)


def _advance(continued: Continued) -> int | None:
    row = _claimed(continued).select_for_update().first()
    if row is None:
        return None
    row.last_number, row.claim, row.claimed_until = continued.number + 1, None, None
    row.save(update_fields=["last_number", "claim", "claimed_until", "updated_at"])
    return int(row.pk)


def _claim(turn: ThreadTurn, previous_id: str) -> str:
    claim, moment = new_id("clm"), database_moment()
    with write_transaction():
        newest = MessageThread.objects.filter(pk=turn.thread_id, last_number=turn.number)
        free = newest.filter(Q(claimed_until__isnull=True) | Q(claimed_until__lt=moment))
        if free.update(claim=claim, claimed_until=moment + timedelta(seconds=CLAIM_SECONDS)):
            return claim
    last = MessageThread.objects.filter(pk=turn.thread_id).values_list("last_number", flat=True).first()
    if last is None:
        raise ThreadNotFound(previous_id)
    raise ThreadContinueInFlight if last == turn.number else ThreadAlreadyContinued


def _claimed(continued: Continued) -> QuerySet[MessageThread]:
    return MessageThread.objects.filter(pk=continued.thread_pk, claim=continued.claim, last_number=continued.number)


def _until(turn: ThreadTurn) -> QuerySet[ThreadTurn]:
    return ThreadTurn.objects.filter(thread_id=turn.thread_id, number__lte=turn.number)


def _size_check(turn: ThreadTurn) -> None:
    limit: int = settings.GATEWAY_MAX_INFERENCE_BODY_BYTES
    size = _until(turn).aggregate(size=Sum(Length(F("messages")) + Length(F("reply"))))["size"] or 0
    if size > limit:
        raise BadRequest(f"The thread has more than {limit} bytes (GATEWAY_MAX_INFERENCE_BODY_BYTES).", field="thread")


def _history(turn: ThreadTurn) -> list[str]:
    lists: list[str] = []
    for messages, reply in _until(turn).order_by("number").values_list("messages", "reply"):
        # A provider refuses a message without content.
        lists += (messages, "[]" if reply == "[]" else f'[{{"role":"assistant","content":{reply}}}]')
    return lists
