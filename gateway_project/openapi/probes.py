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
    count: Schema = {"type": "object", "properties": {"active": {"type": "integer"}}, "required": ["active"]}
    keys: Schema = {"type": "object", "properties": {"tracked_keys": {"type": "integer"}}, "required": ["tracked_keys"]}
    properties = {
        "status": {"type": "string", "const": "ok"},
        "version": {"type": "string"},
        "sessions": count,
        "meter": keys,
        "timestamp": {"type": "string", "format": "date-time"},
    }
    return {"Health": {"type": "object", "properties": properties, "required": list(properties)}}


def start() -> Schema:
    """Describes GET /."""
    properties = {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "ready": {"type": "boolean"},
        "links": {"type": "object", "additionalProperties": {"type": "string"}},
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
