"""The OpenAPI document: the operations and schemas of all faces, and what every operation has in common."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from drf_spectacular.plumbing import normalize_result_object, sanitize_result_object

from edge_app.openapi import FaceDocument, Schema
from gateway_project.http.faces import faces
from gateway_project.openapi import components
from gateway_project.openapi.generator import DocumentGenerator

OPENAPI_VERSION = "3.1.0"
DESCRIPTION = (
    "Durable sessions of AI agents, and models behind the APIs of OpenAI and Anthropic. Errors of the gateway's own API"
    " are `{error, message}` with a stable code; events are read as server-sent"
    " events, over a WebSocket or in pages, and resumed from any offset."
)


@functools.cache
def document() -> Schema:
    """Returns the whole document, made once."""
    documents = face_documents()
    operations = {key: operation for part in documents for key, operation in part.operations.items()}
    generator = DocumentGenerator(operations)
    paths: dict[str, Schema] = generator.parse(None, True)  # type: ignore[no-untyped-call]
    for part in documents:
        paths |= part.paths(generator.resolve_serializer)
    descriptions = {name: text for part in documents for name, text in part.path_parameters.items()}
    errors = {tag: part.error for part in documents for tag in part.tags if part.error}
    for method, path, operation in _operations(paths):
        _complete(method, path, operation, descriptions, errors.get(operation["tags"][0], ""))
    schemas = generator.registry.build({}).get("schemas", {}) | {"Error": components.error_schema()}
    for part in documents:
        schemas |= part.schemas()
    tags = dict.fromkeys(tag for part in documents for tag in part.tags)
    result = {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "Agent Gateway", "version": settings.GATEWAY_VERSION, "description": DESCRIPTION},
        "tags": [{"name": name} for name in tags],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "responses": components.error_responses(),
            "headers": components.HEADERS,
            "securitySchemes": components.SECURITY_SCHEMES,
        },
    }
    whole: Schema = _without_notes(sanitize_result_object(normalize_result_object(result)))
    return whole


def face_documents() -> Sequence[FaceDocument]:
    """Returns the documents of the faces, and that of the gateway's own pages last."""
    own_pages, *others = faces()
    return [import_string(face.openapi) for face in (*others, own_pages) if face.openapi]


def _operations(paths: dict[str, Schema]) -> Iterator[tuple[str, str, Schema]]:
    for path, item in paths.items():
        for method, operation in item.items():
            yield method, path, operation


def _complete(method: str, path: str, operation: Schema, path_parameters: dict[str, str], error: str) -> None:
    """Adds credentials, errors, headers and descriptions of path parameters, so that no face repeats them. `error` is
    the component of the face's errors, empty for the native shape.

    Takes out the notes of the face: `x-open` (no key), `x-stream-token` (takes one), `x-credential` (the
    security scheme of what it takes in place of a key), `x-errors` (statuses beside the
    common ones) and `x-dialect` (errors in the face's own shape, which it describes itself).
    """
    keyed = not operation.pop("x-open", False)
    token = operation.pop("x-stream-token", False)
    credential = operation.pop("x-credential", "")
    operation["security"] = [] if not keyed else components.BY_STREAM_TOKEN if token else components.KEYED
    if credential:
        operation["security"] = [{credential: []}]
        described = operation.get("description", "")
        operation["description"] = f"{described} {components.CREDENTIALS[credential]}".strip()
    own = operation.pop("x-dialect", None)
    statuses = {*components.EVERYWHERE, *operation.pop("x-errors", ())}
    statuses |= set(components.WITH_A_KEY) if keyed else set()
    statuses |= set(components.WITH_AN_ID) if "{" in path else set()
    statuses |= set(components.WITH_A_BODY) if method in ("post", "patch") else set()
    common = ("XRequestId", "RateLimit", "RateLimitPolicy") if keyed else ("XRequestId",)
    for response in operation["responses"].values():
        response["headers"] = {**components.header_references(*common), **response.get("headers", {})}
    if own is None:
        operation["responses"] = components.error_references(sorted(statuses), error) | operation["responses"]
    for parameter in operation.get("parameters", ()):
        if parameter.get("in") == "path" and "description" not in parameter:
            parameter["description"] = path_parameters[parameter["name"]]
    if (scope := operation.get("x-scope")) is not None:
        operation["description"] = f"{operation.get('description', '')} Needs the scope `{scope}`.".strip()


def _without_notes(value: Any) -> Any:
    """Returns `value` without drf-spectacular's own notes."""
    if isinstance(value, dict):
        return {name: _without_notes(item) for name, item in value.items() if name != "x-spec-enum-id"}
    return [_without_notes(item) for item in value] if isinstance(value, list) else value
