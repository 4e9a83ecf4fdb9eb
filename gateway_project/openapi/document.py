"""The document: the views' operations, the consumers' and the probes', and what all of them have in common."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from drf_spectacular.plumbing import normalize_result_object, sanitize_result_object

from faces.native.openapi import events, streams
from faces.native.openapi.operations import TAGS
from gateway_project.openapi import answers, models, probes
from gateway_project.openapi.inspect import Inspector, resolver

Schema = dict[str, Any]

OPENAPI_VERSION = "3.1.0"
DESCRIPTION = (
    "Durable sessions of AI agents, and models behind the APIs of OpenAI and Anthropic. Errors of the gateway's own API"
    " are `{error, message}` with a stable code; events are read as server-sent"
    " events, over a WebSocket or in pages, and resumed from any offset."
)


IN_PATHS = {
    "session_id": "The session's id, `sessionId`.",
    "request_id": "The run's id, `requestId`.",
    "group_id": "The group's id, `groupId`.",
    "name": "The tool's name.",
    "webhook_id": "The webhook's `id`.",
    "delivery_id": "The delivery's `id`, which is its message's `webhook-id`.",
    "model_id": "A public name, or `provider:model` with the colon percent-encoded.",
    "provider": "The provider's name.",
    "token": "The credential at the end of a callback's `resultUrl`.",
}


@functools.cache
def document() -> Schema:
    """The whole document, made once."""
    inspector = Inspector()  # type: ignore[no-untyped-call]
    paths = inspector.parse(None, True)  # type: ignore[no-untyped-call]
    paths |= streams.paths(resolver(inspector.registry)) | probes.paths() | models.paths()
    components = inspector.registry.build({})
    for method, path, operation in _operations(paths):
        _complete(method, path, operation)
    result = {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "Agent Gateway", "version": settings.GATEWAY_VERSION, "description": DESCRIPTION},
        "tags": [{"name": name} for name in (*TAGS, models.TAG, models.TAG_OPERATORS, probes.TAG)],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**components["schemas"], **_schemas()},
            "responses": answers.error_responses(),
            "headers": answers.HEADERS,
            "securitySchemes": answers.SECURITY_SCHEMES,
        },
    }
    made: Schema = _tidied(sanitize_result_object(normalize_result_object(result)))
    return made


def _schemas() -> dict[str, Schema]:
    return {
        "Error": answers.error_schema(),
        **events.schemas(),
        **streams.components(),
        **probes.components(),
        **models.components(),
    }


def _operations(paths: dict[str, Schema]) -> Iterator[tuple[str, str, Schema]]:
    for path, item in paths.items():
        for method, operation in item.items():
            yield method, path, operation


def _complete(method: str, path: str, operation: Schema) -> None:
    """Adds credentials, errors and headers, in this order of need: nobody has to repeat them."""
    keyed = not operation.pop("x-open", False)
    token = operation.pop("x-stream-token", False)
    operation["security"] = [] if not keyed else answers.BY_STREAM_TOKEN if token else answers.KEYED
    own = operation.pop("x-dialect", None)
    statuses = {*answers.EVERYWHERE, *operation.pop("x-errors", ())}
    statuses |= set(answers.WITH_A_KEY) if keyed else set()
    statuses |= set(answers.WITH_AN_ID) if "{" in path else set()
    statuses |= set(answers.WITH_A_BODY) if method in ("post", "patch") else set()
    common = ("XRequestId", "RateLimit", "RateLimitPolicy") if keyed else ("XRequestId",)
    for answer in operation["responses"].values():
        answer["headers"] = {**answers.header_references(*common), **answer.get("headers", {})}
    if own is None:
        operation["responses"] = answers.error_references(sorted(statuses)) | operation["responses"]
    for parameter in operation.get("parameters", ()):
        if parameter.get("in") == "path":
            parameter.setdefault("description", IN_PATHS[parameter["name"]])
    if (scope := operation.get("x-scope")) is not None:
        operation["description"] = f"{operation.get('description', '')} Needs the scope `{scope}`.".strip()


def _tidied(value: Any) -> Any:
    """`value` without drf-spectacular's own notes."""
    if isinstance(value, dict):
        return {name: _tidied(item) for name, item in value.items() if name != "x-spec-enum-id"}
    return [_tidied(item) for item in value] if isinstance(value, list) else value
