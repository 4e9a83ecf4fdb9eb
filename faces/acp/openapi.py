"""The ACP face's share of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_app.openapi import FaceDocument, Resolve, Schema

TAG = "Agent Client Protocol"
ERROR = "AcpError"


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the only path."""
    return {"/acp": {"get": _GET, "post": _POST, "delete": _DELETE}}


def schemas() -> Mapping[str, Schema]:
    """Returns the component of errors about connections."""
    fields: Schema = {
        "error": {"type": "string", "description": "A stable code, or a sentence about the connection."},
        "message": {"type": "string", "description": "A sentence for people."},
        "field": {"type": "string", "description": "The field or header at fault, when it is one."},
    }
    return {ERROR: {"type": "object", "properties": fields, "required": ["error"]}}


def _header(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": description}


_CONNECTION = _header("Acp-Connection-Id", "From the answer to `initialize`.")
_SESSION = _header("Acp-Session-Id", "The session that the message or the stream is about.")
_FAULT: Schema = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ERROR}"}}}}


def _faults(**described: str) -> dict[str, Any]:
    return {status.removeprefix("_"): {"description": text, **_FAULT} for status, text in described.items()}


_REFUSED = _faults(
    _400="The message or a header is missing or wrong.",
    _401="The key is missing or not good.",
    _403="The key has not the scope `sessions`.",
    _404="There is no such connection or session.",
    _429="There are too many requests or connections.",
)

_GET: Schema = {
    "operationId": "acpEvents",
    "tags": [TAG],
    "summary": "Read the messages of a connection or one of its sessions, or open a socket for all of them",
    "description": "Server-sent events, each a JSON-RPC message. The same path takes WebSocket upgrades "
    "(docs/protocol-acp.md).",
    "parameters": [_CONNECTION, _SESSION],
    "responses": {
        "101": {"description": "The socket is open."},
        "200": {
            "description": "The stream.",
            "content": {
                "text/event-stream": {"schema": {"description": "Events whose data is one JSON-RPC message each."}}
            },
        },
        **_REFUSED,
        **_faults(_406="The client does not accept `text/event-stream`."),
    },
    "x-scope": "sessions",
}
_MESSAGE: Schema = {"type": "object", "additionalProperties": True}
_SENT: Schema = {
    "type": "object",
    "required": ["jsonrpc"],
    "properties": {
        "jsonrpc": {"const": "2.0", "description": "The version of JSON-RPC."},
        "id": {"type": ["string", "integer"], "description": "The id of a request, or of what a response answers."},
        "method": {"type": "string", "description": "The method of a request or a notification."},
        "params": {"description": "The parameters of the method, an object."},
        "result": {"description": "The result, of a response."},
        "error": {"description": "The error, of a response."},
    },
}
_INITIALIZE: Schema = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": 1, "clientCapabilities": {}},
}
_POST: Schema = {
    "operationId": "acpMessage",
    "tags": [TAG],
    "summary": "Send a JSON-RPC message; `initialize` opens a connection",
    "parameters": [_CONNECTION, _SESSION],
    "requestBody": {"required": True, "content": {"application/json": {"schema": _SENT, "example": _INITIALIZE}}},
    "responses": {
        "200": {
            "description": "The answer to `initialize`.",
            "content": {"application/json": {"schema": _MESSAGE}},
        },
        "202": {"description": "The message was taken; what it is answered comes in a stream."},
        **_REFUSED,
        **_faults(_415="The body is not `application/json`."),
    },
    "x-scope": "sessions",
}
_DELETE: Schema = {
    "operationId": "acpEnd",
    "tags": [TAG],
    "summary": "End a connection",
    "parameters": [{**_CONNECTION, "required": True}],
    "responses": {"202": {"description": "The connection has ended."}, **_REFUSED},
    "x-scope": "sessions",
}

DOCUMENT = FaceDocument(tags=(TAG,), operations={}, paths=paths, schemas=schemas)
