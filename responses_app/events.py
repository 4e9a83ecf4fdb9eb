"""The vocabulary of a background response's stream: the events of the Responses API, without their number.

The stream has nothing else, so the `sequence_number` of an event is its offset less one: it has no gap, whatever
happens to workers. The last event's response is in the response's row and is not written a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from core_app import jsontext
from events_app.batches import StoredEvent
from events_app.types import Event, Vocabulary

LAST_TYPES = frozenset({"response.completed", "response.incomplete", "response.failed"})
"""Types of the event that ends a stream. A cancelled response ends with `response.incomplete`, because the API has no
event for it, and the response in it says `cancelled`."""

_JOINED = {
    "response.output_text.delta": ("item_id", "output_index", "content_index"),
    "response.reasoning_summary_text.delta": ("item_id", "output_index", "summary_index"),
    "response.reasoning_text.delta": ("item_id", "output_index", "content_index"),
    "response.function_call_arguments.delta": ("item_id", "output_index"),
}
"""Deltas that are joined while they wait for a commit, and the fields that must agree."""

_START = b'{"type":"'
MAX_JOINED_CHARACTERS = 32 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseEvent(Event):
    """One event of the API; `fields` has its `type`."""

    type: ClassVar[str] = "response"
    whole: ClassVar[bool] = True
    fields: Mapping[str, Any]


class ResponseVocabulary(Vocabulary):
    """Encodes an event as the API has it."""

    def write(self, event: Event, run_id: str | None, at: str) -> bytes:
        """The event's object without `sequence_number`; it begins with its type."""
        assert isinstance(event, ResponseEvent)
        return jsontext.encode({"type": event.fields["type"], **event.fields})


RESPONSE_EVENTS = ResponseVocabulary("response", [ResponseEvent])
"""The closed vocabulary of the streams of responses."""


def sequence_number(event: StoredEvent) -> int:
    """Returns the event's number: from 0, without a gap."""
    return event.offset - 1


def offset_after(number: int) -> int:
    """Returns the offset after which the events behind `sequence_number` come; -1 is the place before all events."""
    return number + 1


def event_type(event: StoredEvent) -> str:
    """Returns the type of the API's event."""
    return event.data[len(_START) : event.data.index(b'"', len(_START))].decode()


def events_join(events: Sequence[Mapping[str, Any]]) -> list[ResponseEvent]:
    """Returns the events to append, neighbouring deltas of the same text as one."""
    joined: list[dict[str, Any]] = []
    for event in events:
        last = joined[-1] if joined else None
        if last is not None and _continues(last, event):
            last["delta"] += event["delta"]
            if event.get("logprobs"):
                last["logprobs"] = [*last.get("logprobs", ()), *event["logprobs"]]
        else:
            joined.append(dict(event))
    return [ResponseEvent(fields=fields) for fields in joined]


def _continues(last: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    same = _JOINED.get(str(event.get("type")))
    return (
        same is not None
        and last.get("type") == event["type"]
        and all(last.get(name) == event.get(name) for name in same)
        and len(last["delta"]) + len(event["delta"]) <= MAX_JOINED_CHARACTERS
    )
