"""What the OpenAPI document says of `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.openapi import FaceDocument, Resolve, Schema

TAG = "Operation"


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """The path items, by path."""
    return {"/healthz": {"get": healthz()}, "/readyz": {"get": readyz()}, "/metrics": {"get": metrics()}}


def schemas() -> dict[str, Schema]:
    """The schema of `/healthz`."""
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


def healthz() -> Schema:
    """GET /healthz."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}
    return {
        "operationId": "health",
        "tags": [TAG],
        "summary": "Say that this process answers; counts are a few seconds old",
        "description": "It never waits for a database: for whoever restarts processes that hang.",
        "responses": {"200": {"description": "It answers.", "content": content}},
        "x-open": True,
    }


def readyz() -> Schema:
    """GET /readyz."""
    lines = {"text/plain": {"schema": {"type": "string", "description": "`<part>: <reason>`, a line for each."}}}
    return {
        "operationId": "ready",
        "tags": [TAG],
        "summary": "Ask every part of this process",
        "description": "A line for each part, answered within seconds: for whoever sends requests to processes.",
        "responses": {
            "200": {"description": "Every part is well.", "content": lines},
            "503": {"description": "A part is not well, or the process is ending.", "content": lines},
        },
        "x-open": True,
    }


def metrics() -> Schema:
    """GET /metrics."""
    return {
        "operationId": "metrics",
        "tags": [TAG],
        "summary": "Measure this process, for Prometheus",
        "responses": {
            "200": {"description": "The text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
        },
        "x-scope": "platform",
    }


DOCUMENT = FaceDocument(tags=(TAG,), paths=paths, schemas=schemas)
