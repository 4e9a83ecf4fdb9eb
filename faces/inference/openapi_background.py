"""The operations of completions in the background, and what they add to the operations that start them."""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.openapi import Schema
from inference_app.openapi import ANTHROPIC, ANYTHING, OPENAI, TAG, error_responses

_ERRORS = (400, 401, 403, 404, 429, 500, 502, 503)
_STATE = "The state of a completion that has not ended: an answer without content, with its `status`."
_EVENTS: Schema = {"schema": {"type": "string", "description": "The events of the official API, numbered by `id`."}}
_QUERY: Mapping[str, tuple[Schema, str]] = {
    "stream": ({"type": "boolean"}, "Send the events."),
    "starting_after": ({"type": "integer", "minimum": -1}, "Send the events behind this number only."),
}


def background_paths() -> Mapping[str, Schema]:
    """Returns the path items of both APIs."""
    chat, message = "/v1/chat/completions/{completion_id}", "/v1/messages/{message_id}"
    return {
        chat: _one("ChatCompletion", "a chat completion", OPENAI, "completion_id"),
        f"{chat}/cancel": {"post": _operation("cancelChatCompletion", "Cancel a chat completion", OPENAI)},
        message: _one("Message", "a message", ANTHROPIC, "message_id"),
        f"{message}/cancel": {"post": _operation("cancelMessage", "Cancel a message", ANTHROPIC, "message_id")},
    }


def with_background(operation: Schema) -> Schema:
    """Returns a relayed operation that may also run in the background."""
    header: Schema = {"name": "x-gateway-background", "in": "header", "schema": {"type": "boolean"}}
    location: Schema = {"schema": {"type": "string"}, "description": "The path of the completion."}
    accepted: Schema = {
        "description": _STATE,
        "headers": {"Location": location},
        "content": {"application/json": {"schema": ANYTHING}, "text/event-stream": _EVENTS},
    }
    return {
        **operation,
        "parameters": [{**header, "description": "Run without the client; the answer is 202."}],
        "responses": {**operation["responses"], "202": accepted},
    }


def _one(name: str, what: str, dialect: str, parameter: str) -> Schema:
    read = _operation(f"get{name}", f"Get {what} that runs in the background", dialect, parameter, query=True)
    read["responses"]["200"]["content"]["text/event-stream"] = _EVENTS
    read["responses"]["202"] = {"description": _STATE, "content": {"application/json": {"schema": ANYTHING}}}
    ended = "It failed as this says, or was cancelled (409)."
    read["responses"] |= {
        str(status): {**error_responses((400,), dialect)["400"], "description": ended}
        for status in (402, 409, 413, 422)
    }
    return {"get": read, "delete": _operation(f"delete{name}", f"Delete {what}", dialect, parameter)}


def _operation(
    name: str, summary: str, dialect: str, parameter: str = "completion_id", *, query: bool = False
) -> Schema:
    named: Schema = {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
    fields = _QUERY if query else {}
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "parameters": [
            named,
            *(
                {"name": field, "in": "query", "schema": schema, "description": text}
                for field, (schema, text) in fields.items()
            ),
        ],
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": ANYTHING}}},
            **error_responses(_ERRORS, dialect),
        },
        "x-scope": "inference",
        "x-dialect": dialect,
    }
