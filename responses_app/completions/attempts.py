"""Attempts of a background completion: what a leg finds when it begins, and what it writes when it ends.

All functions are called within a transaction of the response's run. The dialects of Chat and Messages have no word for
an attempt that starts again, so the stream of an attempt that was cut off ends with an error, as a broken stream does
there, and the next attempt is a whole stream of its own behind it. `abandoned` is the number of events before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app import jsontext
from core_app.errors import GatewayError, UpstreamError
from events_app import log
from responses_app.completions.events import ChunkEvent, Mark
from responses_app.completions.wire import Json, completion_error, dialect_of
from responses_app.models import Kind, ResponseStatus, StoredResponse

LAST_OF_MESSAGE = "message_stop"


class AttemptRestarted(UpstreamError):
    """The attempt was cut off, and the completion began again."""

    code = "attempt_restarted"

    def __init__(self) -> None:
        super().__init__(
            "The answer was cut off, and the completion begins again: read its stream behind this event, and drop"
            " what came before it."
        )


def completion_begin(row: StoredResponse) -> None:
    """Begins an attempt of a locked row that has not ended."""
    assert row.stream_id is not None
    head = log.lock(row.stream_id).head
    if row.status == ResponseStatus.IN_PROGRESS and head > row.abandoned:
        _append(row, "restart", dialect_of(row.kind).body(AttemptRestarted()))
        row.abandoned = head + 1
    row.status = ResponseStatus.IN_PROGRESS
    row.save(update_fields=["status", "abandoned", "updated_at"])


def completion_end(row: StoredResponse, answer: Mapping[str, Any]) -> None:
    """Ends a completion with its whole answer."""
    row.status, row.output = ResponseStatus.COMPLETED, jsontext.encode_text(dict(answer))
    row.save(update_fields=["status", "output", "updated_at"])
    # A message's last event is one of its dialect; chat's is no JSON.
    _append(row, "last", {"type": LAST_OF_MESSAGE} if row.kind == Kind.MESSAGES else None)


def completion_settle(row: StoredResponse, status: ResponseStatus, message: str) -> None:
    """Ends a completion whose run ended without its answer: cancelled or failed."""
    row.status = status
    if status == ResponseStatus.FAILED and not _is_noted(row, message):
        error_note(row, UpstreamError(message))
    row.save(update_fields=["status", "body", "updated_at"])
    _append(row, "error", completion_error(row)["body"])


def _is_noted(row: StoredResponse, message: str) -> bool:
    """True if the run ended with the error that its last attempt noted, and not with another one later."""
    noted = jsontext.decode(row.body).get("error")
    return noted is not None and message.startswith(jsontext.clean_text(noted["body"]["error"]["message"]))


def error_note(row: StoredResponse, error: GatewayError) -> None:
    """Notes what an attempt failed with, as its clients would have read it in the foreground."""
    noted: Json = {"status": error.status, "body": dict(dialect_of(row.kind).body(error))}
    row.body = jsontext.encode_text({**jsontext.decode(row.body), "error": noted})


def completion_note_error(pk: int, error: GatewayError) -> None:
    """Does the same for a row that is not locked yet."""
    row = StoredResponse.objects.select_for_update().filter(pk=pk).first()
    if row is not None and not row.finished:
        error_note(row, error)
        row.save(update_fields=["body", "updated_at"])


def _append(row: StoredResponse, mark: Mark, data: Mapping[str, Any] | None) -> None:
    assert row.stream_id is not None
    log.append(row.stream_id, [ChunkEvent(mark=mark, data=data)])
