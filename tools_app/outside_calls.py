"""Outside calls: calls of the connected client's tools that belong to no completion and no run.

An agent runtime makes them in the middle of its own work. Such a call is requested at once, waits like any client tool,
and is settled by `client_result`. Its id is derived from its stream and from the id that the caller gave, so the same
request again finds the same call, and another session's call cannot be named. No model reads the result: it is
stored whole, as JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from core_app import jsontext
from core_app.database import database_moment, write_transaction
from events_app import log
from tools_app.fingerprint import fingerprint
from tools_app.models import OUTSIDE_PREFIX, ToolCall
from tools_app.states import WAITING, CallKind, CallState
from tools_app.transitions import move, settle
from tools_app.types import SettledCall, Status
from tools_app.waits import requested_event

MAX_CALL_ID_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideRequest:
    """A call as its caller requested it; `seconds` is the time for the result."""

    call_id: str
    tool_name: str
    arguments: Mapping[str, Any]
    seconds: float


def outside_call_id(stream_id: int, given: str) -> str:
    """Returns the gateway's id for a caller's id in one session."""
    digest = hashlib.sha256(f"{stream_id}:{jsontext.clean_text(given)}".encode()).hexdigest()
    return OUTSIDE_PREFIX + digest[:32]


def outside_call_find(stream_id: int, given: str) -> ToolCall | None:
    """Returns the session's outside call of this id, waiting or settled."""
    return ToolCall.objects.filter(pk=outside_call_id(stream_id, given), stream_id=stream_id).first()


def call_named(stream_id: int, given: str) -> ToolCall | None:
    """Returns the session's call that a client means by an id: an outside call by its caller's id, any other by the
    gateway's."""
    found = outside_call_find(stream_id, given)
    return found or ToolCall.objects.filter(pk=jsontext.clean_text(given), stream_id=stream_id).first()


def calls_waiting(stream_id: int) -> list[ToolCall]:
    """Returns the session's calls that wait for a client: for its result, or for a decision on them."""
    states = (CallState.REQUESTED, CallState.AWAITING_APPROVAL)
    rows = ToolCall.objects.filter(stream_id=stream_id, state__in=states, expires_at__gt=database_moment())
    return list(rows.order_by("created_at", "message_id", "position"))


def shown_id(call: ToolCall) -> str:
    """Returns the id by which clients of the session know the call: of an outside call its caller's."""
    return call.provider_id if call.is_outside else call.id


def outside_call_request(*, tenant_id: int, stream_id: int, request: OutsideRequest) -> ToolCall:
    """Requests a call, and returns it; returns the first one when its id was used before. Runs in the caller's
    transaction, which holds the stream's lock."""
    if (found := outside_call_find(stream_id, request.call_id)) is not None:
        return found
    identity = outside_call_id(stream_id, request.call_id)
    arguments = dict(request.arguments)
    call = ToolCall.objects.create(
        id=identity,
        tenant_id=tenant_id,
        stream_id=stream_id,
        run_id="",
        message_id=identity,
        position=0,
        provider_id=jsontext.clean_text(request.call_id),
        tool_name=jsontext.clean_text(request.tool_name),
        args=jsontext.encode_text(arguments),
        args_hash=fingerprint(arguments),
    )
    moment = database_moment()
    expires = moment + timedelta(seconds=request.seconds)
    move(call, CallState.REQUESTED, kind=CallKind.CLIENT, expires_at=expires, started_at=moment)
    log.append(stream_id, [requested_event(call)])
    return call


def outside_call_end(*, call: ToolCall, status: Status, reason: str) -> ToolCall:
    """Settles a call whose wait is over, unless it has been settled meanwhile; returns it as it is then."""
    with write_transaction():
        log.lock(call.stream_id)
        call = ToolCall.objects.get(pk=call.pk)
        if call.state != CallState.SETTLED:
            settle(call, status=status, content=reason, on_settled=_store_nothing)
    return call


def outside_calls_cancel(*, stream_id: int, reason: str) -> None:
    """Settles all waiting outside calls of a session that ends, in the caller's transaction with the stream locked."""
    for call in ToolCall.objects.filter(stream_id=stream_id, run_id="", state__in=WAITING):
        settle(call, status="unknown", content=reason, on_settled=_store_nothing)


def _store_nothing(settled: SettledCall) -> None:
    """An outside call has no place in the conversation."""
