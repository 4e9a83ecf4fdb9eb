"""A background completion as its clients see it: its state while it runs, then its answer or its error.

A state is `{"id": …, "status": …}` in both dialects; an answer and an error are those of the dialect.
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
"""The paths that start completions, by kind. A completion is behind it, too, where official clients look for it."""

BACKGROUND_PATH = "/v1/background"
"""The path of completions of both kinds: that of one is behind it."""

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


def completion_path(public_id: str) -> str:
    """Returns the path of a completion."""
    return f"{BACKGROUND_PATH}/{public_id}"


def completion_state(row: StoredResponse) -> Json:
    """Returns the object that says how far the completion is."""
    return {"id": row.public_id, "status": row.status}


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


def completion_deleted(row: StoredResponse) -> Json:
    """Returns the answer to a deletion."""
    return {"id": row.public_id, _DELETED[row.kind]: _DELETED_NAMES[row.kind], "deleted": True}
