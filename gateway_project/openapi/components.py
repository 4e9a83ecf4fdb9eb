"""Components that all operations share: error responses, response headers, credentials.

The errors are read from `core_app.errors`, so a new one is documented without a change here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus

from core_app.errors import GatewayError
from edge_app.openapi import Schema

EVERYWHERE = (400, 413, 500, 503)
"""Statuses of every operation: a foreign host or a NUL, too long a body, a failure, an overloaded gateway."""

WITH_A_KEY = (401, 403, 429)
WITH_A_BODY = (415,)
WITH_AN_ID = (404,)
IDEMPOTENT = (409, 422)

IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "description": "The same key with the same body within 24 hours gets the first response again"
    " (`Idempotent-Replayed: true`); with another body 422; while the first request is in progress 409.",
}

_HEADERS_OF = {429: ("RetryAfter",)}

KEYED: list[Schema] = [{"apiKey": []}, {"bearer": []}]
BY_STREAM_TOKEN = [*KEYED, {"streamToken": []}]

CREDENTIALS = {"embedToken": "Needs the token of an embedded chat in `X-Embed-Token`, and takes no key."}
"""Sentences about the credentials of operations that take no key, by security scheme."""

SECURITY_SCHEMES: Schema = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same key as `Authorization: Bearer`."},
    "streamToken": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "From `…/stream-token`: one session, read only, for clients that cannot send headers.",
    },
    "embedToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Embed-Token",
        "description": "From `POST /v1/embed-tokens`: one end user's chats, for the chat's own frame.",
    },
}

HEADERS: Schema = {
    "XRequestId": {"schema": {"type": "string"}, "description": "The request's id, also in the log."},
    "RateLimit": {
        "schema": {"type": "string"},
        "description": 'The key\'s bucket (IETF draft): `"default";r=<left>;t=<seconds until full>`.'
        " Not sent for keys without a limit.",
    },
    "RateLimitPolicy": {"schema": {"type": "string"}, "description": '`"default";q=<per minute>;w=60`.'},
    "RetryAfter": {"schema": {"type": "integer", "minimum": 1}, "description": "Whole seconds."},
    "IdempotentReplayed": {
        "schema": {"type": "string", "const": "true"},
        "description": "This is the response to an earlier request with the same Idempotency-Key.",
    },
    "Location": {"schema": {"type": "string"}, "description": "The path of the new object."},
}


def error_responses() -> dict[str, Schema]:
    """Returns `Error404` and the other response components: one per status, with its codes."""
    return {f"Error{status}": _response(status, kinds) for status, kinds in sorted(_by_status().items())}


def error_schema() -> Schema:
    """Returns the schema of every error's body."""
    return {
        "type": "object",
        "properties": {
            "error": {
                "type": "string",
                "enum": sorted({kind.code for kind in _tree(GatewayError)}),
                "description": "A stable code.",
            },
            "message": {"type": "string", "description": "A sentence for people."},
            "field": {"type": "string", "description": "The field at fault, when it is one."},
            "errorId": {"type": "string", "description": "Of an internal error: its id in the log."},
        },
        "required": ["error", "message"],
    }


def error_references(statuses: Sequence[int], error: str = "") -> dict[str, Schema]:
    """Returns an operation's `responses` for errors: references, or, with the component of a face's own errors, that
    shape in place of the native one."""
    if error:
        return {str(status): _response_of_face(status, error) for status in sorted(set(statuses))}
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in sorted(set(statuses))}


def header_references(*names: str) -> Schema:
    """Returns references for the `headers` of a response, by the names that clients see."""
    wire = {"XRequestId": "X-Request-Id", "RateLimitPolicy": "RateLimit-Policy", "RetryAfter": "Retry-After"}
    wire["IdempotentReplayed"] = "Idempotent-Replayed"
    return {wire.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in names}


def _response_of_face(status: int, error: str) -> Schema:
    return {
        "description": HTTPStatus(status).phrase,
        "headers": header_references("XRequestId", *_HEADERS_OF.get(status, ())),
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{error}"}}},
    }


def _response(status: int, kinds: Sequence[type[GatewayError]]) -> Schema:
    codes = sorted({kind.code for kind in kinds})
    own = _HEADERS_OF.get(status, ())
    narrowed = {"enum": codes, "description": "A stable code."}
    return {
        "description": " or ".join(f"`{code}`" for code in codes),
        "headers": header_references("XRequestId", "RateLimit", "RateLimitPolicy", *own),
        "content": {
            "application/json": {
                "schema": {"allOf": [{"$ref": "#/components/schemas/Error"}, {"properties": {"error": narrowed}}]}
            }
        },
    }


def _by_status() -> dict[int, list[type[GatewayError]]]:
    found: dict[int, list[type[GatewayError]]] = {}
    for kind in _tree(GatewayError):
        found.setdefault(kind.status, []).append(kind)
    return found


def _tree(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        if child.__module__ == "core_app.errors":
            yield child
            yield from _tree(child)
