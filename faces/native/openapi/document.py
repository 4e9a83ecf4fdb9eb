"""The native face's share of the OpenAPI document."""

from __future__ import annotations

from edge_app.openapi import FaceDocument, Schema
from faces.native.openapi import events, streams
from faces.native.openapi.operations import OPERATIONS, TAGS


def schemas() -> dict[str, Schema]:
    """Returns the components that no serializer has: events and pages of them."""
    return events.schemas() | streams.components()


DOCUMENT = FaceDocument(
    tags=TAGS,
    operations=OPERATIONS,
    paths=streams.paths,
    schemas=schemas,
    path_parameters={
        "session_id": "The session's id, `sessionId`.",
        "request_id": "The run's id, `requestId`.",
        "group_id": "The group's id, `groupId`.",
        "name": "The tool's name.",
        "webhook_id": "The webhook's `id`.",
        "delivery_id": "The delivery's `id`, which is its message's `webhook-id`.",
        "token": "The credential at the end of a callback's `resultUrl`.",
    },
)
