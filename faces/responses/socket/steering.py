"""Steering: input of the user for a response that runs, which its successor answers.

Accepted input waits until the response ends, or until its next item would begin: then the response ends as `incomplete`
and its successor goes on at once. A response that ends with calls of the client's tools keeps it for the request that
has their results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest
from core_app.ids import new_id
from faces.responses.socket.frames import Json

MAX_STEERS = 8
"""Submissions that wait for one response."""

MAX_STEER_BYTES = 256 * 1024
"""Bytes of a frame with a submission."""

_PARTS = ("input_text", "input_image", "input_file")
_MESSAGE_FIELDS = frozenset({"type", "role", "content"})

CALL_RESULTS: Mapping[str, tuple[str, str]] = {
    "function_call": ("function_call_output", "call_id"),
    "custom_tool_call": ("custom_tool_call_output", "call_id"),
    "computer_call": ("computer_call_output", "call_id"),
    "shell_call": ("shell_call_output", "call_id"),
    "local_shell_call": ("shell_call_output", "call_id"),
    "apply_patch_call": ("apply_patch_call_output", "call_id"),
    "mcp_approval_request": ("mcp_approval_response", "approval_request_id"),
}
"""Items that the client has to answer: the type of the answer, and its field with their id."""


@dataclass(frozen=True, slots=True)
class Steer:
    """One accepted submission: its input as it came, and as items."""

    id: str
    given: Any
    items: Sequence[Json]

    def about(self, response_id: str) -> Json:
        """Returns what events say of it."""
        return {"id": self.id, "previous_response_id": response_id}


@dataclass(slots=True)
class Target:
    """A response that is steered, from its creation on. `refusal` is why it cannot be; `over` is true once it takes no
    more input."""

    response_id: str
    stream_id: str | None
    refusal: str | None = None
    over: bool = False
    numbers: int = 0
    steers: list[Steer] = field(default_factory=list)

    def next_number(self) -> int:
        """Returns the next `sequence_number`: events of steering take their turn among those of the response."""
        self.numbers += 1
        return self.numbers - 1


class SteerRefused(Exception):
    """Input that is not accepted."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def steer_accept(target: Target | None, given: Any) -> Steer:
    """Queues input for a response; raises SteerRefused."""
    if target is None:
        raise SteerRefused("response_not_found", "This socket has no response of that id.")
    if target.refusal is not None:
        raise SteerRefused("steering_not_supported", target.refusal)
    if target.over:
        raise SteerRefused("response_already_completed", "The response has ended.")
    items = _items(given)
    if len(target.steers) >= MAX_STEERS:
        raise SteerRefused("too_many_pending_steers", f"{MAX_STEERS} submissions wait for this response.")
    steer = Steer(new_id("str"), given, items)
    target.steers.append(steer)
    return steer


def accepted_event(target: Target, steer: Steer) -> Json:
    """Returns the event that acknowledges input."""
    return _event("accepted", target, {"steer": steer.about(target.response_id)})


def pending_event(target: Target, steer: Steer, output: Sequence[Json]) -> Json:
    """Returns the event for input that waits for the results of the client's tools."""
    more = {"reason": "waiting_for_required_input", "required_input": required_input(output)}
    return _event("pending", target, {"steer": steer.about(target.response_id), **more})


def failed_event(
    target: Target | None, response_id: str, given: Any, steer_id: str | None, code: str, message: str
) -> Json:
    """Returns the event that gives input back."""
    about: Json = {"input": given, "previous_response_id": response_id}
    if steer_id is not None:
        about["id"] = steer_id
    error = {"code": code, "message": message, "type": "invalid_request_error"}
    return _event("failed", target, {"error": error, "steer": about})


def needs_client(item: Any) -> bool:
    """True for an item of an output that the client has to answer."""
    return isinstance(item, dict) and item.get("type") in CALL_RESULTS


def required_input(output: Sequence[Json]) -> list[Json]:
    """Returns the beginnings of the answers that the client has to give."""
    stubs: list[Json] = []
    for item in filter(needs_client, output):
        kind, name = CALL_RESULTS[item["type"]]
        stub = {"type": kind, name: item.get("id" if name == "approval_request_id" else "call_id")}
        stubs.append({**stub, "name": item.get("name")} if kind == "function_call_output" else stub)
    return stubs


def read_steer(raw: bytes) -> tuple[str, Any]:
    """Returns the id of the response and the input; raises BadRequest where not even that can be read."""
    if len(raw) > MAX_STEER_BYTES:
        raise BadRequest(f"A frame for steering has at most {MAX_STEER_BYTES} bytes.", field="input")
    given = jsontext.decode_untrusted(raw)
    response_id = given.get("previous_response_id")
    if not isinstance(response_id, str):
        raise BadRequest("'previous_response_id' must be the id of a response.", field="previous_response_id")
    return response_id, given.get("input")


def _event(kind: str, target: Target | None, fields: Json) -> Json:
    number = 0 if target is None else target.next_number()
    return {"type": f"response.steer.{kind}", "sequence_number": number, **fields}


def _items(given: Any) -> list[Json]:
    if isinstance(given, str) and given:
        return [{"type": "message", "role": "user", "content": given}]
    if isinstance(given, list) and given and all(map(_is_message, given)):
        return [{**item, "type": "message"} for item in given]
    raise SteerRefused("invalid_input", "'input' must be a text, or a list of the user's messages.")


def _is_message(item: Any) -> bool:
    if not isinstance(item, dict) or not set(item) <= _MESSAGE_FIELDS:
        return False
    content = item.get("content")
    return (
        item.get("role") == "user"
        and item.get("type", "message") == "message"
        and (isinstance(content, str) or (isinstance(content, list) and bool(content) and all(map(_is_part, content))))
    )


def _is_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _PARTS
