"""The share of `/`, `/healthz`, `/readyz` and `/metrics` in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.openapi import FaceDocument, Resolve, Schema

TAG = "Operation"


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the path items, by path."""
    return {
        "/": {"get": start()},
        "/healthz": {"get": healthz()},
        "/readyz": {"get": readyz()},
        "/metrics": {"get": metrics()},
    }


def schemas() -> dict[str, Schema]:
    """Returns the schema of `/healthz`."""
    properties = {
        "status": {"type": "string", "const": "ok", "description": "The process responds."},
        "version": {"type": "string", "description": "The gateway's version."},
        "sessions": _counts("Sessions of all tenants.", "active", "Sessions with a run in progress."),
        "meter": _counts("Rate limits.", "tracked_keys", "Keys and tenants whose requests are counted."),
        "timestamp": {"type": "string", "format": "date-time", "description": "The moment of the counts."},
    }
    return {"Health": {"type": "object", "properties": properties, "required": list(properties)}}


def _counts(description: str, name: str, meaning: str) -> Schema:
    count = {"type": "integer", "description": meaning}
    return {"type": "object", "description": description, "properties": {name: count}, "required": [name]}


def start() -> Schema:
    """Describes GET /."""
    properties = {
        "name": {"type": "string", "description": "The gateway's name."},
        "version": {"type": "string", "description": "The gateway's version."},
        "ready": {"type": "boolean", "description": "Whether `/readyz` is well."},
        "links": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Addresses of the pages, by name.",
        },
    }
    shape: Schema = {"type": "object", "properties": properties, "required": list(properties)}
    content = {"application/json": {"schema": shape}, "text/html": {"schema": {"type": "string"}}}
    return {
        "operationId": "start",
        "tags": [TAG],
        "summary": "Get the start page",
        "description": "A page for browsers (`Accept: text/html`); name, version and links for everything else.",
        "responses": {"200": {"description": "The page or the document.", "content": content}},
        "x-open": True,
    }


def healthz() -> Schema:
    """Describes GET /healthz."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}
    return {
        "operationId": "health",
        "tags": [TAG],
        "summary": "Check that this process responds; counts are a few seconds old",
        "description": "Liveness: it never waits for a database. For supervisors that restart processes that hang.",
        "responses": {"200": {"description": "The process responds.", "content": content}},
        "x-open": True,
    }


def readyz() -> Schema:
    """Describes GET /readyz."""
    lines = {"text/plain": {"schema": {"type": "string", "description": "`<part>: <reason>`, a line for each part."}}}
    return {
        "operationId": "ready",
        "tags": [TAG],
        "summary": "Check every part of this process",
        "description": "Readiness: a line for each part, within seconds. For load balancers.",
        "responses": {
            "200": {"description": "Every part is well.", "content": lines},
            "503": {"description": "A part is not well, or the process is stopping.", "content": lines},
        },
        "x-open": True,
    }


def metrics() -> Schema:
    """Describes GET /metrics."""
    return {
        "operationId": "metrics",
        "tags": [TAG],
        "summary": "Get the metrics of this process, for Prometheus",
        "responses": {
            "200": {"description": "The text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
        },
        "x-scope": "platform",
    }


DOCUMENT = FaceDocument(tags=(TAG,), paths=paths, schemas=schemas)
