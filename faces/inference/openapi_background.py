"""The operations of completions in the background, and what they add to the operations that start them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edge_app.openapi import Schema
from inference_app.openapi import ANTHROPIC, ANYTHING, OPENAI, TAG, error_responses, object_schema, text
from responses_app.models import ResponseStatus

_ERRORS = (400, 401, 403, 404, 429, 500, 502, 503)
_STATE: Schema = {
    "schema": object_schema(
        {
            "id": text("The completion's id: it is behind `/v1/background/`."),
            "status": {"enum": list(ResponseStatus.values), "description": "How far the completion is."},
        }
    ),
    "example": {"id": "bg_01jqm3v8w0c5k7n9x2b4d6f8h0", "status": "queued"},
}
_RUNS: Schema = {
    "description": "The state of a completion that has not ended.",
    "content": {"application/json": _STATE},
}
_EVENTS: Schema = {"schema": {"type": "string", "description": "The events of the official API, numbered by `id`."}}
_NUMBER: Schema = {"type": "integer", "minimum": -1}
_QUERY: Mapping[str, tuple[Schema, str]] = {
    "stream": ({"type": "boolean"}, "Send the events."),
    "after": (_NUMBER, "Send the events behind this number only: 0 is before the newest attempt, -1 before all."),
}
_OWN_QUERY = {**_QUERY, "starting_after": (_NUMBER, "Another name of `after`, which comes before it.")}


def background_paths() -> Mapping[str, Schema]:
    """Returns the path items: that of both APIs, and where the official clients of each look for its own."""
    both, chat, message = (
        "/v1/background/{background_id}",
        "/v1/chat/completions/{completion_id}",
        "/v1/messages/{message_id}",
    )
    dialects = (OPENAI, ANTHROPIC)
    return {
        both: _one("BackgroundCompletion", "a completion", *dialects, parameter="background_id", query=_QUERY),
        f"{both}/cancel": {
            "post": _cancel("cancelBackgroundCompletion", "a completion", *dialects, parameter="background_id")
        },
        chat: _one("ChatCompletion", "a chat completion", OPENAI, parameter="completion_id"),
        f"{chat}/cancel": {
            "post": _cancel("cancelChatCompletion", "a chat completion", OPENAI, parameter="completion_id")
        },
        message: _one("Message", "a message", ANTHROPIC, parameter="message_id"),
        f"{message}/cancel": {"post": _cancel("cancelMessage", "a message", ANTHROPIC, parameter="message_id")},
    }


def with_background(operation: Schema) -> Schema:
    """Returns a relayed operation that may also run in the background."""
    header: Schema = {"name": "x-gateway-background", "in": "header", "schema": {"type": "boolean"}}
    location: Schema = {"schema": {"type": "string"}, "description": "The path of the completion."}
    accepted: Schema = {
        "description": "The state of a completion that runs in the background; its stream is behind its path.",
        "headers": {"Location": location},
        "content": {"application/json": _STATE},
    }
    return {
        **operation,
        "parameters": [{**header, "description": "Run without the client; the answer is 202."}],
        "responses": {**operation["responses"], "202": accepted},
    }


def _one(
    name: str, what: str, *dialects: str, parameter: str, query: Mapping[str, tuple[Schema, str]] = _OWN_QUERY
) -> Schema:
    read = _operation(f"get{name}", f"Get {what} that runs in the background", dialects, parameter, query)
    read["responses"]["200"]["content"]["text/event-stream"] = _EVENTS
    read["responses"]["202"] = {**_RUNS}
    ended = "It failed as this says, or was cancelled (409)."
    read["responses"] |= {
        str(status): {**error_responses((400,), *dialects)["400"], "description": ended}
        for status in (402, 409, 413, 422)
    }
    removed = f"Delete {what} that runs in the background"
    return {"get": read, "delete": _operation(f"delete{name}", removed, dialects, parameter)}


def _cancel(name: str, what: str, *dialects: str, parameter: str) -> Schema:
    described = _operation(name, f"Cancel {what} that runs in the background", dialects, parameter)
    described["responses"]["200"]["content"]["application/json"] = _STATE
    return described


def _operation(
    name: str,
    summary: str,
    dialects: tuple[str, ...],
    parameter: str,
    query: Mapping[str, tuple[Schema, str]] = MappingProxyType({}),
) -> Schema:
    named: Schema = {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "parameters": [
            named,
            *(
                {"name": field, "in": "query", "schema": schema, "description": sentence}
                for field, (schema, sentence) in query.items()
            ),
        ],
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": ANYTHING}}},
            **error_responses(_ERRORS, *dialects),
        },
        "x-scope": "inference",
        "x-dialect": dialects[0],
    }
