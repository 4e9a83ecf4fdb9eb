"""The response's object as clients see it, the same in answers, in events and on every later reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core_app import jsontext
from responses_app.models import ResponseStatus, StoredResponse

Json = dict[str, Any]

_ENDED = {"completed": ResponseStatus.COMPLETED, "incomplete": ResponseStatus.INCOMPLETE}


@dataclass(frozen=True, slots=True)
class Stamp:
    """Fields of a response that the gateway sets in place of the provider, which knows nothing of the store."""

    response_id: str
    background: bool = False
    previous_id: str | None = None
    conversation_id: str | None = None

    def on(self, response: Mapping[str, Any]) -> Json:
        """Returns the provider's response object with the gateway's fields."""
        return {
            **response,
            "id": self.response_id,
            "store": True,
            "background": self.background,
            "previous_response_id": self.previous_id,
            "conversation": None if self.conversation_id is None else {"id": self.conversation_id},
        }


def response_to_wire(row: StoredResponse) -> Json:
    """Returns the whole response."""
    return {**jsontext.decode(row.body), "status": row.status, "output": jsontext.decode(row.output)}


def body_text(response: Mapping[str, Any]) -> str:
    """Returns the text of a response's object for `StoredResponse.body`, which has no output."""
    return jsontext.encode_text({name: value for name, value in response.items() if name != "output"})


def ended_status(response: Mapping[str, Any]) -> ResponseStatus:
    """Returns the status of a response whose provider has ended it."""
    return _ENDED.get(str(response.get("status")), ResponseStatus.FAILED)


def end_response(
    response: Mapping[str, Any],
    status: ResponseStatus,
    output: Sequence[Json],
    error: Mapping[str, str] | None = None,
) -> Json:
    """Returns the object of a response that the gateway ends itself."""
    return {**response, "status": status.value, "output": list(output), "error": error}


def last_type(status: str) -> str:
    """Returns the type of the event that ends the stream of a response with this status."""
    return "response.incomplete" if status == ResponseStatus.CANCELLED else f"response.{status}"


def list_deleted(public_id: str) -> Json:
    """Returns the answer to a deletion."""
    return {"id": public_id, "object": "response", "deleted": True}
