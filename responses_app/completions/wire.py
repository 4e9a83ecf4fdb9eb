"""A background completion as the clients of its dialect see it: its state while it runs, then its answer or its error.

A state has the shape of an answer without content, so an official client reads it, and `status` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core_app import jsontext
from core_app.errors import Conflict, UpstreamError
from inference_app.relay import ANTHROPIC, OPENAI, Dialect
from responses_app.models import Kind, ResponseStatus, StoredResponse

Json = dict[str, Any]

PATHS = {Kind.CHAT.value: "/v1/chat/completions", Kind.MESSAGES.value: "/v1/messages"}
"""The paths of the kinds: that of a completion is behind it."""

_DELETED = {Kind.CHAT.value: "object", Kind.MESSAGES.value: "type"}
_DELETED_NAMES = {Kind.CHAT.value: "chat.completion.deleted", Kind.MESSAGES.value: "message_deleted"}


class Cancelled(Conflict):
    """The completion was cancelled."""

    code = "cancelled"

    def __init__(self) -> None:
        super().__init__("The completion was cancelled.")


@dataclass(frozen=True, slots=True)
class Shown:
    """A completion as GET answers it: the status of HTTP and the body."""

    status: int
    body: Json


def dialect_of(kind: str) -> Dialect:
    """Returns the dialect of the errors of `kind`."""
    return ANTHROPIC if kind == Kind.MESSAGES else OPENAI


def completion_path(row: StoredResponse) -> str:
    """Returns the path of a completion."""
    return f"{PATHS[row.kind]}/{row.public_id}"


def completion_state(row: StoredResponse) -> Json:
    """Returns the object that says how far the completion is."""
    about = jsontext.decode(row.body)
    shown: Json = {"id": row.public_id, "model": row.model, "status": row.status}
    if row.kind == Kind.CHAT:
        return {**shown, "object": "chat.completion", "created": about["created"], "choices": []}
    ends: Json = {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 0, "output_tokens": 0}}
    return {**shown, "type": "message", "role": "assistant", "content": [], **ends}


def completion_to_wire(row: StoredResponse) -> Shown:
    """Returns the answer of a completion that is whole, the error of one that is not, else its state."""
    if row.status == ResponseStatus.COMPLETED:
        return Shown(200, jsontext.decode(row.output))
    if row.finished:
        error = completion_error(row)
        return Shown(error["status"], error["body"])
    return Shown(202, completion_state(row))


def completion_error(row: StoredResponse) -> Json:
    """Returns the `status` and the `body` of the error with which a completion ended."""
    dialect = dialect_of(row.kind)
    if row.status == ResponseStatus.CANCELLED:
        return {"status": Cancelled.status, "body": dict(dialect.body(Cancelled()))}
    noted: Json | None = jsontext.decode(row.body).get("error")
    failed = UpstreamError("The completion ended without an answer.")
    return noted or {"status": failed.status, "body": dict(dialect.body(failed))}


def completion_deleted(row_kind: str, public_id: str) -> Json:
    """Returns the answer to a deletion."""
    return {"id": public_id, _DELETED[row_kind]: _DELETED_NAMES[row_kind], "deleted": True}
