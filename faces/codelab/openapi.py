"""The Codelab face's share of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_app.openapi import FaceDocument, Resolve, Schema
from faces.codelab.execute import MAX_SECONDS

TAG = "Codelab"
ERROR = "CodelabError"


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the paths of the sockets and of the execution of tools."""
    return {
        "/ws/{session_id}": {"get": _socket("codelabSocket")},
        "/api/v1/ws/{session_id}": {"get": _socket("codelabSocketV1")},
        "/tool/execute/{session_id}": {"post": _EXECUTE},
    }


def schemas() -> Mapping[str, Schema]:
    """Returns the component of the protocol's errors."""
    fields: Schema = {"detail": {"type": "string"}, "code": {"type": "string"}, "status": {"type": "string"}}
    return {ERROR: {"type": "object", "properties": fields, "required": ["detail"]}}


_SESSION: Schema = {"name": "session_id", "in": "path", "required": True, "schema": {"type": "string"}}


def _socket(name: str) -> Schema:
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": "Open the IDE's socket of a session",
        "description": "The frames are described in docs/protocol-codelab.md.",
        "parameters": [
            _SESSION,
            {
                "name": "since",
                "in": "query",
                "schema": {"type": "string"},
                "description": "The `offset` of the last frame that the client has; what came after it is sent first.",
            },
            {
                "name": "token",
                "in": "query",
                "schema": {"type": "string"},
                "description": "An API key or a stream token, for clients that cannot send headers.",
            },
        ],
        "responses": {"101": {"description": "The socket is open."}},
        "x-scope": "sessions",
    }


def _answer(description: str, **properties: Any) -> Schema:
    shape = {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}
    return {"description": description, "content": {"application/json": {"schema": shape}}}


_EXECUTE: Schema = {
    "operationId": "codelabExecuteTool",
    "tags": [TAG],
    "summary": "Have the session's IDE run a tool, and wait for its result",
    "parameters": [
        _SESSION,
        {
            "name": "X-Internal-Auth",
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "description": "A key of `GATEWAY_INTERNAL_API_KEY`.",
        },
    ],
    "security": [],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["call_id", "tool_name"],
                    "properties": {
                        "type": {"const": "tool_call"},
                        "call_id": {"type": "string", "minLength": 1},
                        "tool_name": {"type": "string", "minLength": 1},
                        "arguments": {"type": "object"},
                        "timeout_seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS},
                    },
                }
            }
        },
    },
    "responses": {
        "200": _answer("The tool's result, or its error.", status="string", detail="string"),
        "401": _answer("The key is wrong.", detail="string"),
        "404": _answer("There is no such session.", status="string", detail="string"),
        "409": _answer("No client is connected.", status="string", detail="string"),
        "422": _answer("The body is invalid.", detail="string"),
        "503": _answer("GATEWAY_INTERNAL_API_KEY is not set.", detail="string"),
        "504": _answer("The result did not come in time.", status="string", detail="string"),
    },
}

DOCUMENT = FaceDocument(
    tags=(TAG,),
    paths=paths,
    error=ERROR,
    schemas=schemas,
    path_parameters={"session_id": "The session's id, `sessionId`."},
)
