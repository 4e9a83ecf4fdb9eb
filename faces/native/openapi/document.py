"""The native face's share of the OpenAPI document."""

from __future__ import annotations

from edge_app.openapi import FaceDocument, Resolve, Schema
from faces.native.openapi import embed, events, mcp_servers, streams
from faces.native.openapi.operations import OPERATIONS, TAGS


def schemas() -> dict[str, Schema]:
    """Returns the components that no serializer has: events and pages of them."""
    return events.schemas() | streams.components()


def _paths(resolve: Resolve) -> dict[str, Schema]:
    """Returns the path items that no viewset has."""
    chat = {"/v1/embed/sessions/{session_id}/events": {"get": embed.embed_events()}}
    return streams.paths(resolve) | mcp_servers.paths(resolve) | chat


DOCUMENT = FaceDocument(
    tags=TAGS,
    operations=OPERATIONS,
    paths=_paths,
    schemas=schemas,
    path_parameters={
        "session_id": "The session's id, `sessionId`.",
        "request_id": "The run's id, `requestId`.",
        "group_id": "The group's id, `groupId`.",
        "name": "The tool's name.",
        "server": "The MCP server's name.",
        "webhook_id": "The webhook's `id`.",
        "key_id": "The key's `id`.",
        "delivery_id": "The delivery's `id`, which is its message's `webhook-id`.",
        "token": "The credential at the end of a callback's `resultUrl`.",
    },
)
