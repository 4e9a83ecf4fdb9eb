"""Schemas of the session events, made from the event classes, so that the document always matches them."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from core_app.event_size import MAX_EVENT_BYTES
from events_app.types import Event
from sessions_app.events import SESSION_EVENTS, TERMINAL_TYPES
from tools_app.events import ApprovalRequired, AskUser, ToolCallRequested

Schema = dict[str, Any]

DROPPED = "events_dropped"

POSITION: Schema = {"$ref": "#/components/schemas/Position"}
POSITION_SHAPE: Schema = {
    "oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+\.[0-9]+$"}],
    "description": "A position in a stream: the event's offset, or, in later generations, text of offset and"
    " generation. Opaque: send it as it came.",
}

PENDING: Mapping[str, type[Event]] = {
    "PendingApproval": ApprovalRequired,
    "PendingQuestion": AskUser,
    "PendingTool": ToolCallRequested,
}
"""Objects in `…/status` that are the data of an event, without the fields that every event has."""

ENVELOPE: Mapping[str, Schema] = {
    "requestId": {"type": ["string", "null"], "description": "The run; null outside of runs."},
    "at": {"type": "string", "format": "date-time", "description": "The moment at which the event was stored."},
    "sessionId": {"type": "string", "description": "In group streams only."},
    "truncated": {
        "type": "boolean",
        "description": f"True on an event that was larger than {MAX_EVENT_BYTES} bytes: its long values are cut.",
    },
}


def schemas() -> dict[str, Schema]:
    """Returns the components: one per event type, `Event` as one of them, and the pending objects."""
    components = {name: _data_schema(cls) for name, cls in PENDING.items()}
    components |= {component_name(event_type): _event_frame(event_type, cls) for event_type, cls in events().items()}
    components[component_name(DROPPED)] = _frame(DROPPED, dropped_data())
    names = [*events(), DROPPED]
    components["Event"] = {
        "oneOf": [reference(event_type) for event_type in names],
        "discriminator": {
            "propertyName": "event",
            "mapping": {event_type: reference(event_type)["$ref"] for event_type in names},
        },
        "description": "An event in socket frames and pages. Ignore types and fields that you do not know.",
    }
    return components


def events() -> dict[str, type[Event]]:
    """Returns the closed vocabulary of session events."""
    return dict(SESSION_EVENTS.events)


def component_name(event_type: str) -> str:
    """Returns the component's name of an event type: MessageDeltaEvent for `message_delta`."""
    return "".join(part.capitalize() for part in event_type.split("_")) + "Event"


def reference(event_type: str) -> Schema:
    """Returns a reference to an event's component."""
    return {"$ref": f"#/components/schemas/{component_name(event_type)}"}


def _event_frame(event_type: str, cls: type[Event]) -> Schema:
    data = _data_schema(cls)
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
            "id": {**POSITION, "description": "The event's position, from which a client resumes."},
            "event": {"type": "string", "const": event_type, "description": "The event's type."},
            "data": {"description": "What happened.", **data},
        },
        "required": ["id", "event", "data"],
    }


def _data_schema(cls: type[Event]) -> Schema:
    hints, docs = get_type_hints(cls), _field_docs(cls)
    properties = {
        wire: TypeAdapter(hints[name]).json_schema() | {"description": docs[name]}
        for name, wire in SESSION_EVENTS.wire_names(cls)
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _field_docs(cls: type[Event]) -> dict[str, str]:
    """Returns the text below each field of an event class, as a sentence for clients. Python keeps none of it at run
    time, so it is read from the source."""
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(declared, ast.ClassDef)
    docs = {}
    for field, below in itertools.pairwise(declared.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = " ".join(text.split())
    return docs


def dropped_data() -> Schema:
    """Returns the schema of a gap: the data of `events_dropped`."""
    return {
        "type": "object",
        "description": "Events that are no longer stored. `reset`: the client has seen events that the database lost;"
        " what it has after `to` is void, and the stream continues there.",
        "properties": {
            "from": {**POSITION, "description": "The position that the client had."},
            "to": {**POSITION, "description": "The last position that is missing; of a reset, the last that holds."},
            "reason": {"type": "string", "enum": ["reset"], "description": "Absent when events are merely too old."},
        },
        "required": ["from", "to"],
    }
