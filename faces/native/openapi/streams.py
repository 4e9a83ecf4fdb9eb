"""Path items of the native streams, the socket and the tool test, which are not views: one function each.

Frames of event streams are not JSON documents, so their schema is in an extension (`x-event-schema`). The socket is
described as the upgrade that it begins with, its frames in `x-websocket`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_app.openapi import Resolve, Schema
from edge_app.sockets.close_codes import CloseCode
from edge_app.sockets.connection import MAX_FRAME_BYTES
from faces.native.openapi import shapes
from faces.native.openapi.events import POSITION, POSITION_SHAPE, dropped_data
from faces.native.openapi.operations import STREAMS, TOOLS
from faces.native.openapi.shapes import path_parameter
from faces.native.session_events import MAX_PAGE
from faces.native.socket.actions import ACTIONS
from faces.native.tool_test import ToolTestSerializer
from sessions_app.events import TERMINAL_TYPES
from sessions_app.inbox import MOST_COUNTED

EVENT: Schema = {"$ref": "#/components/schemas/Event"}
WHOLE_NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
PAGE: Schema = {
    "type": "object",
    "properties": {
        "events": {"type": "array", "items": EVENT, "description": "The events of this page, oldest first."},
        "lastEventIndex": {**POSITION, "description": "The position of the stream's newest event."},
        "nextCursor": {"oneOf": [POSITION, {"type": "null"}], "description": "`since` of the next page."},
        "dropped": dropped_data(),
    },
    "required": ["events", "lastEventIndex", "nextCursor"],
}
STREAM: Schema = {
    "schema": {"description": "Frames of `id`, `event` and `data`; comments are heartbeats."},
    "x-event-schema": EVENT,
}


def components() -> dict[str, Schema]:
    """Returns the schemas that no serializer has."""
    return {"EventPage": PAGE, "Position": POSITION_SHAPE}


def paths(resolve: Resolve) -> dict[str, Schema]:
    """Returns the path items, by path; `gateway_project.openapi` adds errors and credentials."""
    session, group = "/v1/sessions/{session_id}", "/v1/groups/{group_id}"
    return {
        f"{session}/events": {"get": session_events()},
        f"{session}/ws": {"get": session_socket(resolve)},
        f"{session}/tools/{{name}}/test": {"post": tool_test(resolve)},
        f"{group}/events": {"get": group_events()},
        "/v1/activity": {"get": activity()},
    }


def session_events() -> Schema:
    """Describes GET …/events of a session."""
    ends = " and ".join(f"`{name}`" for name in sorted(TERMINAL_TYPES))
    return {
        "operationId": "followSession",
        "tags": [STREAMS],
        "summary": "Follow a session's events, or read them in pages",
        "description": "Server-sent events until the end of the newest run (" + ends + " are terminal), or, with"
        " `follow=session`, of the session. With `format=json` one page of JSON instead.",
        "parameters": [
            path_parameter("session_id"),
            *_position(),
            _query("requestId", {"type": "string"}, "This run's events only."),
            _query("follow", {"type": "string", "enum": ["session"]}, "Continues from run to run."),
            _query("format", {"type": "string", "enum": ["json"]}, "Returns a page instead of a stream."),
            _query("limit", WHOLE_NUMBER, f"Of a page: 100 by default, {MAX_PAGE} at most."),
        ],
        "responses": {
            "200": {
                "description": "The stream, or the page.",
                "content": {
                    "text/event-stream": STREAM,
                    "application/json": {"schema": {"$ref": "#/components/schemas/EventPage"}},
                },
            },
            "204": {"description": "The session is closed and the client has all of its events: do not reconnect."},
        },
        "x-scope": "sessions:read",
        "x-stream-token": True,
    }


def group_events() -> Schema:
    """Describes GET …/events of a group."""
    return {
        "operationId": "followGroup",
        "tags": [STREAMS],
        "summary": "Follow the events of all sessions of a group",
        "description": "From `Last-Event-ID` or `since`, else only new events. The stream does not end by itself.",
        "parameters": [path_parameter("group_id"), *_position()],
        "responses": {"200": {"description": "The stream.", "content": {"text/event-stream": STREAM}}},
        "x-scope": "sessions:read",
    }


def activity() -> Schema:
    """Describes GET /v1/activity."""
    fields = {
        "type": {"const": "activity", "description": "The kind of frame."},
        "waits": {"type": "integer", "description": "What waits for a person now."},
    }
    data = {"type": "object", "properties": fields, "required": list(fields)}
    return {
        "operationId": "followActivity",
        "tags": [STREAMS],
        "summary": "Be told when something has happened in the tenant's sessions",
        "description": "A frame at once, and one within about a second of a change: a session or run began or ended, a"
        " busy session went on, something waits for a person or no longer does. `waits` counts what waits for a person,"
        f" up to {MOST_COUNTED}. Frames have no id; what changed is read with other requests.",
        "parameters": [],
        "responses": {"200": {"description": "The stream.", "content": {"text/event-stream": {"schema": data}}}},
        "x-scope": "sessions:read",
    }


def session_socket(resolve: Resolve) -> Schema:
    """Describes the WebSocket …/ws."""
    return {
        "operationId": "openSocket",
        "tags": [STREAMS],
        "summary": "Follow a session and act on it over one WebSocket",
        "description": "Events as they happen. Every action gets exactly one reply, before any event that it causes.",
        "parameters": [
            path_parameter("session_id"),
            _query("since", POSITION, "Events after this one; without it only new ones."),
            _query("api_key", {"type": "string"}, "The key, where no header can be sent."),
        ],
        "responses": {"101": {"description": "The socket is open."}},
        "x-scope": "sessions:read",
        "x-stream-token": True,
        "x-websocket": {
            "maxFrameBytes": MAX_FRAME_BYTES,
            "sends": {"oneOf": [EVENT, *_replies()]},
            "receives": {"oneOf": _actions(resolve)},
            "closeCodes": {str(int(code)): code.reason for code in CloseCode},
        },
    }


def tool_test(resolve: Resolve) -> Schema:
    """Describes POST …/tools/:name/test."""
    return {
        "operationId": "testTool",
        "tags": [TOOLS],
        "summary": "Test a tool without a model",
        "parameters": [path_parameter("session_id"), path_parameter("name")],
        "requestBody": {
            "content": {
                "application/json": {
                    "schema": resolve(ToolTestSerializer, "request"),
                    "example": {"args": {"city": "Paris"}},
                }
            }
        },
        "responses": {
            "200": {
                "description": "The result of the call.",
                "content": {"application/json": {"schema": resolve(shapes.ToolTestResultSerializer, "response")}},
            }
        },
        "x-scope": "sessions",
        "x-errors": [409],
    }


def _position() -> list[Schema]:
    return [
        _query("since", POSITION, "Events after this one; 0 is everything."),
        _query("types", {"type": "string"}, "A comma list: only events of these types."),
        {
            "name": "Last-Event-ID",
            "in": "header",
            "schema": POSITION,
            "description": "Precedes `since`.",
        },
    ]


def _query(name: str, schema: Mapping[str, Any], description: str) -> Schema:
    return {"name": name, "in": "query", "schema": dict(schema), "description": description}


def _replies() -> list[Schema]:
    ref: Schema = {"type": ["string", "integer"], "description": "Copied from the action."}
    succeeded = {
        "ok": {"const": True, "description": "The action is done."},
        "action": {"type": "string", "description": "The action that this replies to."},
        "requestRef": ref,
    }
    refused = {
        "ok": {"const": False, "description": "The action is refused."},
        "action": {"type": ["string", "null"], "description": "The action; null where the frame names none."},
        "error": {"type": "string", "description": "A stable code."},
        "message": {"type": "string", "description": "A sentence for people."},
        "field": {"type": "string", "description": "The field at fault, when it is one."},
        "errorId": {"type": "string", "description": "Of an internal error: its id in the log."},
        "requestRef": ref,
    }
    return [
        {"type": "object", "properties": succeeded, "required": ["ok", "action"], "additionalProperties": {}},
        {"type": "object", "properties": refused, "required": ["ok", "action", "error", "message"]},
    ]


def _actions(resolve: Resolve) -> list[Schema]:
    frames = [_frame(name, resolve(action.shape, "request")) for name, action in ACTIONS.items()]
    return [*frames, _frame("ping", {"type": "object"})]


def _frame(action: str, data: Schema) -> Schema:
    head = {
        "type": "object",
        "properties": {
            "action": {"const": action, "description": "The action."},
            "requestRef": {
                "type": ["string", "integer"],
                "maxLength": 256,
                "description": "A mark of the client's own, copied into the reply.",
            },
        },
        "required": ["action"],
    }
    return {"allOf": [head, data]}
