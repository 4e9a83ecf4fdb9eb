"""The events as schemas, made from the event classes themselves, so that the document cannot drift from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from core_app.event_size import MAX_EVENT_BYTES
from events_app.types import Event
from sessions_app.events import SESSION_EVENTS, TERMINAL_TYPES
from tools_app.events import ApprovalRequired, AskUser, ToolCallRequested

Schema = dict[str, Any]

DROPPED = "events_dropped"

PENDING: Mapping[str, type[Event]] = {
    "PendingApproval": ApprovalRequired,
    "PendingQuestion": AskUser,
    "PendingTool": ToolCallRequested,
}
"""Wire objects of `…/status` that are the data of an event, without what every event carries beside."""

ENVELOPE: Mapping[str, Schema] = {
    "requestId": {"type": ["string", "null"], "description": "The run; null outside of one."},
    "at": {"type": "string", "format": "date-time"},
    "sessionId": {"type": "string", "description": "In a group's stream only."},
    "truncated": {
        "type": "boolean",
        "description": f"True on an event that was larger than {MAX_EVENT_BYTES} bytes: its long values are cut.",
    },
}


def schemas() -> dict[str, Schema]:
    """Every component: one per event type, `Event` as one of them, and the pending objects."""
    components = {name: _own(cls) for name, cls in PENDING.items()}
    components |= {component_name(event_type): _event(event_type, cls) for event_type, cls in events().items()}
    components[component_name(DROPPED)] = _frame(DROPPED, _dropped())
    names = [*events(), DROPPED]
    components["Event"] = {
        "oneOf": [reference(event_type) for event_type in names],
        "discriminator": {
            "propertyName": "event",
            "mapping": {event_type: reference(event_type)["$ref"] for event_type in names},
        },
        "description": "An event as sockets and pages carry it. Readers pass over types and fields they do not know.",
    }
    return components


def events() -> dict[str, type[Event]]:
    """The closed vocabulary of the sessions' events."""
    return dict(SESSION_EVENTS.events)


def component_name(event_type: str) -> str:
    """`message_delta` as MessageDeltaEvent."""
    return "".join(part.capitalize() for part in event_type.split("_")) + "Event"


def reference(event_type: str) -> Schema:
    """A reference to an event's component."""
    return {"$ref": f"#/components/schemas/{component_name(event_type)}"}


def _event(event_type: str, cls: type[Event]) -> Schema:
    data = _own(cls)
    data["properties"] |= {name: schema for name, schema in ENVELOPE.items() if name not in data["properties"]}
    data["required"] = [*data["required"], "requestId", "at"]
    frame = _frame(event_type, data)
    if event_type in TERMINAL_TYPES:
        frame["description"] = "Terminal: the run is over."
    return frame


def _frame(event_type: str, data: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "description": "The event's offset in its stream."},
            "event": {"type": "string", "const": event_type},
            "data": data,
        },
        "required": ["id", "event", "data"],
    }


def _own(cls: type[Event]) -> Schema:
    hints = get_type_hints(cls)
    properties = {wire: TypeAdapter(hints[name]).json_schema() for name, wire in SESSION_EVENTS.wire_names(cls)}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _dropped() -> Schema:
    return {
        "type": "object",
        "description": "Events that are no longer kept; `reset`: the position was past the newest event.",
        "properties": {
            "from": {"type": "integer"},
            "to": {"type": "integer"},
            "reason": {"type": "string", "enum": ["reset"]},
        },
        "required": ["from", "to"],
    }
