"""The parts of the OpenAPI document that all faces of the model gateway share: errors, headers, relayed operations.

Plain data without a web framework, so that no face has to import another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

TAG = "Models"

OPENAI, ANTHROPIC = "OpenAIError", "AnthropicError"

ERRORS: Mapping[int, str] = {
    400: "The request is wrong, here or at the provider.",
    401: "The key is missing or not valid.",
    402: "A budget of the tenant, the key or the model is spent (`insufficient_quota`).",
    403: "The key lacks the scope.",
    404: "No provider has that model, or it is not the tenant's to use (`model_not_found`).",
    413: "The body is too long, here or at the provider.",
    422: "The provider cannot work with the request.",
    429: "The key's limit on this path or a budget of a minute is used up (`rate_limit_exceeded`).",
    500: "The gateway failed; `x-error-id` is in its log.",
    502: "Every candidate failed (`PROVIDER_ERROR`).",
    503: "No provider of the model has a key and a closed circuit (`NO_PROVIDER`), or the gateway is full.",
}

_RETRY_AFTER: Schema = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}

HEADERS: Schema = {
    "X-Gateway-Provider": {"schema": {"type": "string"}, "description": "The provider that responded."},
    "X-Gateway-Model": {"schema": {"type": "string"}, "description": "The provider's own name of the model."},
    "X-Gateway-Attempts": {"schema": {"type": "string"}, "description": "The number of requests to providers."},
    "X-Gateway-Dropped-Tools": {
        "schema": {"type": "string"},
        "description": "Hosted tools that were left out because the provider does not have them.",
    },
    "X-Gateway-Budget-Tokens-Left": {"schema": {"type": "string"}, "description": "Of the narrowest budget."},
    "X-Gateway-Budget-Usd-Left": {"schema": {"type": "string"}, "description": "Of the narrowest budget."},
}

MODEL: Schema = {"type": "string", "minLength": 1, "description": "A name, an alias, or `provider:model`."}

STREAM: Schema = {"type": ["boolean", "null"], "description": "Respond with server-sent events."}

DEMO_MODEL = "demo:tour"
"""The model of all examples: it needs no provider."""

ANYTHING: Schema = {"type": "object", "additionalProperties": {}}


def relayed_operation(
    name: str, summary: str, fields: Schema, dialect: str, *, example: Schema, streams: bool = True
) -> Schema:
    """Returns an operation whose response is a provider's; `fields` are those of the body that the gateway reads, and
    `example` is a whole body."""
    content: Schema = {"application/json": {"schema": ANYTHING}}
    if streams:
        events = "The events of the official API; an error after the first byte is the last event."
        content["text/event-stream"] = {"schema": {"description": events}}
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "requestBody": request_body(fields, example),
        "responses": {
            "200": {"description": "The provider's response.", "headers": HEADERS, "content": content},
            **error_responses(tuple(ERRORS), dialect),
        },
        "x-scope": "inference",
        "x-dialect": dialect,
    }


def request_body(fields: Schema, example: Schema) -> Schema:
    """Returns the description of a JSON body with these fields; all but `stream` are required."""
    required = [name for name in fields if name != "stream"]
    schema = {"type": "object", "properties": fields, "required": required, "additionalProperties": {}}
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def error_responses(statuses: tuple[int, ...], *dialects: str) -> Schema:
    """Returns the error responses of these statuses in one or several dialects."""
    schema = reference(dialects[0]) if len(dialects) == 1 else {"anyOf": [reference(dialect) for dialect in dialects]}
    return {
        str(status): {
            "description": ERRORS[status],
            "headers": _RETRY_AFTER if status == 429 else {},
            "content": {"application/json": {"schema": schema}},
        }
        for status in statuses
    }


def openai_error() -> Schema:
    """Returns the component OpenAIError."""
    nullable: Schema = {"type": ["string", "null"]}
    error = {
        "message": text("A sentence for people."),
        "type": text("The kind of error."),
        "param": {**nullable, "description": "The field at fault; null without one."},
        "code": {**nullable, "description": "A stable code; null without one."},
    }
    return object_schema({"error": {**object_schema(error), "description": "The error."}})


def text(description: str) -> Schema:
    """Returns the schema of a string."""
    return {"type": "string", "description": description}


def object_schema(properties: Schema, required: tuple[str, ...] | None = None) -> Schema:
    """Returns the schema of an object; all properties are required, where `required` names none."""
    return {"type": "object", "properties": properties, "required": list(required or properties)}


def reference(component: str) -> Schema:
    """Returns a reference to a component schema."""
    return {"$ref": f"#/components/schemas/{component}"}
