"""Attempts of a background response: what a leg finds when it begins, and what it writes when it ends.

All functions are called within the leg's transaction. An attempt that follows another one tells clients so in the API's
own terms: the items that were open end as `incomplete`, `response.in_progress` comes once more, and the new attempt's
items have the indexes after them. Nothing that a client has seen is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core_app import jsontext
from events_app import log
from responses_app.assembly import Assembly, Json
from responses_app.completions.attempts import completion_begin, completion_end, completion_settle
from responses_app.conversations import items_add
from responses_app.events import ResponseEvent
from responses_app.items import counted_items, is_settled
from responses_app.models import Kind, ResponseStatus, StoredResponse
from responses_app.references import references_add
from responses_app.wire import Stamp, body_text, end_response, ended_status, last_type

PAGE = 1000
_JOINING = (ResponseStatus.COMPLETED, ResponseStatus.INCOMPLETE)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. Its items begin at the index `first_index`; `kept` are those of earlier ones that stand."""

    pk: int
    stream_id: int | None
    first_index: int
    kind: str = Kind.RESPONSES.value
    kept: Sequence[Json] = ()


def attempt_begin(tenant_id: int, public_id: str, run_id: str) -> Attempt | None:
    """Begins an attempt of the response's own run, and ends the items that the one before left open. None if there is
    nothing left to do, and for any other run: a client may write the mark of one into the metadata of a prompt."""
    row = _locked(tenant_id=tenant_id, public_id=public_id, run_id=run_id)
    if row is None or row.finished:
        return None
    if row.kind != Kind.RESPONSES:
        completion_begin(row)
        return Attempt(row.pk, row.stream_id, 0, row.kind)
    events: list[Json] = []
    if row.stream_id is not None and row.status == ResponseStatus.IN_PROGRESS:
        assembly = assembly_of(row.stream_id)
        events = assembly.close()
        row.abandoned, row.output = assembly.size, jsontext.encode_text(assembly.output())
    row.status = ResponseStatus.IN_PROGRESS
    row.save(update_fields=["status", "abandoned", "output", "updated_at"])
    response = {**jsontext.decode(row.body), "status": row.status, "output": jsontext.decode(row.output)}
    _append(row, [*events, {"type": "response.in_progress", "response": response}])
    kept = [item for item in response["output"] if is_settled(item)]
    return Attempt(row.pk, row.stream_id, row.abandoned, kept=kept)


def attempt_count_break(pk: int) -> int:
    """Counts a provider's stream that broke off; returns how often that has happened to the response."""
    row = _locked(pk=pk)
    if row is None:
        return 0
    row.restarts += 1
    row.save(update_fields=["restarts", "updated_at"])
    return row.restarts


def attempt_complete(pk: int, response: Mapping[str, Any]) -> None:
    """Ends the response as its provider has ended it, with the last event of its stream."""
    row = _locked(pk=pk)
    if row is None or row.finished:
        return
    if row.kind != Kind.RESPONSES:
        completion_end(row, response)
        return
    before = jsontext.decode(row.body)
    conversation = before.get("conversation") or {}
    stamped = Stamp(row.public_id, True, row.previous_id, conversation.get("id")).on(response)
    output = [*jsontext.decode(row.output)[: row.abandoned], *(response.get("output") or ())]
    response_end(row, {**stamped, "created_at": before["created_at"], "output": output}, ended_status(response))


def response_settle(row: StoredResponse, status: ResponseStatus, error: Mapping[str, str] | None) -> None:
    """Ends a response whose run ended without it: cancelled or failed. Its output is what clients have seen."""
    if row.kind != Kind.RESPONSES:
        completion_settle(row, status, "" if error is None else error["message"])
        return
    events: list[Json] = []
    output = jsontext.decode(row.output)
    if row.stream_id is not None:
        assembly = assembly_of(row.stream_id)
        events, output = assembly.close(), assembly.output()
    _append(row, events)
    response_end(row, end_response(jsontext.decode(row.body), status, output, error), status)


def response_end(row: StoredResponse, response: Mapping[str, Any], status: ResponseStatus) -> None:
    """Writes the final state of a response, and its stream's last event."""
    row.status, row.body = status, body_text({**response, "status": status.value})
    row.output = jsontext.encode_text(response.get("output") or [])
    row.save(update_fields=["status", "body", "output", "updated_at"])
    references_add(row, response.get("output") or ())
    response_join(row)
    # Its response is in the row, which changes no more.
    _append(row, [{"type": last_type(status)}])


def response_join(row: StoredResponse) -> None:
    """Adds the items of a response that has ended well to its conversation."""
    if row.conversation_id is None or row.status not in _JOINING:
        return
    output = counted_items(jsontext.decode(row.output), row.abandoned)
    items_add(row.conversation_id, [*jsontext.decode(row.input), *output])


def assembly_of(stream_id: int) -> Assembly:
    """Returns the output as the events of the stream have built it so far."""
    assembly, after = Assembly(), 0
    while events := log.read(stream_id, after=after, limit=PAGE):
        for event in events:
            assembly.add(jsontext.decode(event.data))
        after = events[-1].offset
    return assembly


def _append(row: StoredResponse, events: list[Json]) -> None:
    if row.stream_id is not None and events:
        log.append(row.stream_id, [ResponseEvent(fields=fields) for fields in events])


def _locked(**which: Any) -> StoredResponse | None:
    return StoredResponse.objects.select_for_update().filter(**which).first()
