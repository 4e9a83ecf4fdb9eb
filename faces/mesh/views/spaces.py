"""/spaces with their messages, artifacts and search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from core_app import jsontext
from core_app.errors import BadRequest
from edge_app.rest.fields import JSONObject, StrictPattern, StrictString
from edge_app.rest.json import JSONNegotiation
from edge_app.rest.paging import cursor_of, limit_of, next_cursor
from edge_app.rest.viewsets import idempotent
from faces.mesh.artifacts import artifact_delete, artifact_get, artifact_put, artifact_read
from faces.mesh.models import Artifact
from faces.mesh.search import space_search
from faces.mesh.semantic import DEFAULT_LIMIT, query_check
from faces.mesh.spaces import space_create, space_get, space_message_add, space_messages, spaces_page
from faces.mesh.views.base import MeshViewSet, page_link
from faces.mesh.views.tasks import ID, MAX_TEXT
from faces.mesh.wire import artifact_to_wire, message_to_wire, space_to_wire
from tenants_app.principal import TASKS, TASKS_READ

MAX_METADATA_BYTES = 64 * 1024
_MEDIA_TYPE = "application/octet-stream"
_FILE_HEADERS = {
    # A file of a tenant must not run as a page of this server.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}


_SOMETHING = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "object", "minProperties": 1},
        {"type": "array", "minItems": 1},
    ]
}
"""A value that can be the text of a message."""


class SpaceBodySerializer(serializers.Serializer[Any]):
    """POST /spaces."""

    metadata = JSONObject(
        required=False, max_bytes=MAX_METADATA_BYTES, help_text="Data of the client's own, returned with the space."
    )


class SpaceMessageBodySerializer(serializers.Serializer[Any]):
    """POST /spaces/:id/messages: an AgentMessage, or `content` with a role and metadata. The message's text is
    `content`, else `payload.task`, `result` or `error.message` of the AgentMessage."""

    document_rules = {
        "anyOf": [
            {"required": ["content"]},
            {"required": ["payload"], "properties": {"payload": {"type": "object", "minProperties": 1}}},
            *({"required": [name], "properties": {name: _SOMETHING}} for name in ("result", "event_data")),
        ]
    }

    content = StrictString(required=False, max_length=MAX_TEXT, help_text="The text of the message.")
    role = StrictString(
        required=False, max_length=32, help_text="The author in the client's own words; `user` by default."
    )
    metadata = JSONObject(
        required=False, max_bytes=MAX_METADATA_BYTES, help_text="Data of the client's own, returned with the message."
    )
    id = StrictPattern(
        ID,
        required=False,
        allow_null=True,
        help_text="An id of the client's choice, unique in the space; by default the gateway makes one.",
    )
    type = serializers.ChoiceField(
        choices=["request", "response", "event", "stream", "stream_end"],
        required=False,
        help_text="The kind of AgentMessage.",
    )
    source = StrictString(  # type: ignore[assignment]  # DRF collects fields, its attribute stays
        required=False, allow_null=True, allow_blank=True, max_length=200, help_text="The sender of the AgentMessage."
    )
    target = StrictString(
        required=False, allow_null=True, allow_blank=True, max_length=200, help_text="The receiver of the AgentMessage."
    )
    correlation_id = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=200,
        help_text="The id of the message that this one belongs to.",
    )
    timestamp = serializers.FloatField(
        required=False, allow_null=True, help_text="The client's own time, in milliseconds since the epoch."
    )
    payload = JSONObject(
        required=False,
        max_bytes=512 * 1024,
        help_text="The content of a request; its `task` is the message's text where `content` is absent.",
    )
    event_type = StrictString(required=False, allow_null=True, max_length=200, help_text="The name of an event.")
    event_data = serializers.JSONField(required=False, allow_null=True, help_text="The content of an event.")
    result = serializers.JSONField(required=False, allow_null=True, help_text="The content of a response.")
    error = serializers.JSONField(required=False, allow_null=True, help_text="What went wrong, in a response.")


class RawNegotiation(JSONNegotiation):
    """Takes bodies of any type: an artifact is raw bytes."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        return next(iter(parsers))


class SpaceViewSet(MeshViewSet):
    """Spaces of the tenant."""

    scope = TASKS
    scopes = dict.fromkeys(("list", "retrieve", "messages", "artifacts", "search"), TASKS_READ)
    lookup_url_kwarg = "space_id"

    def list(self, request: Request) -> Response:
        """Returns spaces, the newest first; the next page is in `Link`."""
        found, following = spaces_page(self.principal, before=cursor_of(request), limit=limit_of(request))
        return page_link(request, Response([space_to_wire(space) for space in found]), following)

    @idempotent
    def create(self, request: Request) -> Response:
        """Creates a space."""
        body = self.parse_body(SpaceBodySerializer).validated_data
        with self.work_transaction():
            space = space_create(principal=self.principal, metadata=body.get("metadata", {}))
            headers = self.location(f"/spaces/{space.public_id}")
            return self.store_response(Response({"space_id": space.public_id}, status=201, headers=headers))

    def retrieve(self, request: Request, space_id: str) -> Response:
        """Returns a space."""
        return Response(space_to_wire(space_get(self.principal, space_id)))

    @action(detail=True, methods=["get"])
    def messages(self, request: Request, space_id: str) -> Response:
        """Returns the newest messages, the oldest of them first."""
        space = space_get(self.principal, space_id)
        found, following = space_messages(space, before=cursor_of(request), limit=limit_of(request))
        shown = [message_to_wire(message) for message in found]
        return Response({"messages": shown, "next_cursor": next_cursor(following)})

    @messages.mapping.post
    @idempotent
    def add_message(self, request: Request, space_id: str) -> Response:
        """Adds a message."""
        body = self.parse_body(SpaceMessageBodySerializer).validated_data
        with self.work_transaction():
            message = space_message_add(
                principal=self.principal,
                public_id=space_id,
                role=body.get("role", "user"),
                content=_content(body),
                body={name: value for name, value in body.items() if name not in ("id", "role", "content")},
                message_id=body.get("id"),
            )
            return self.store_response(Response(message_to_wire(message), status=201))

    @action(detail=True, methods=["get"])
    def artifacts(self, request: Request, space_id: str) -> Response:
        """Returns the artifacts by name, without their bytes."""
        space = space_get(self.principal, space_id)
        rows = Artifact.objects.filter(space=space).defer("text").order_by("name")
        return Response({"artifacts": [artifact_to_wire(artifact) for artifact in rows]})

    @action(detail=True, methods=["get"])
    def search(self, request: Request, space_id: str) -> Response:
        """Searches messages and artifacts, best first."""
        space = space_get(self.principal, space_id)
        query = query_check(request.query_params.get("q", ""))
        if request.query_params.get("mode", "text") != "text":
            raise BadRequest("'mode' is text or semantic.", field="mode")
        return Response({"results": space_search(space, query, limit=limit_of(request, default=DEFAULT_LIMIT))})


class ArtifactViewSet(MeshViewSet):
    """One artifact of a space."""

    scope = TASKS
    scopes = {"retrieve": TASKS_READ}
    content_negotiation_class = RawNegotiation

    def retrieve(self, request: Request, space_id: str, name: str) -> HttpResponse:
        """Returns the file's bytes."""
        artifact = artifact_get(self.principal, space_id, name)
        headers = {**_FILE_HEADERS, "Content-Disposition": f'attachment; filename="{artifact.name}"'}
        return HttpResponse(artifact_read(artifact), content_type=artifact.media_type, headers=headers)

    def update(self, request: Request, space_id: str, name: str) -> Response:
        """Stores the body under the name."""
        media_type = request.content_type or _MEDIA_TYPE
        if len(media_type) > 200 or not media_type.isascii() or not media_type.isprintable():
            raise BadRequest("Content-Type is a media type of at most 200 characters.", field="Content-Type")
        artifact = artifact_put(
            principal=self.principal,
            space_id=space_id,
            name=name,
            content=request._request.body,
            media_type=media_type,
        )
        return Response(artifact_to_wire(artifact))

    def destroy(self, request: Request, space_id: str, name: str) -> Response:
        """Removes the file."""
        artifact_delete(principal=self.principal, space_id=space_id, name=name)
        return Response(status=204)


def _content(body: dict[str, Any]) -> str:
    """Returns the message's text. Raises BadRequest when the body has none."""
    error = body.get("error")
    places = (
        body.get("content"),
        (body.get("payload") or {}).get("task"),
        body.get("result"),
        error.get("message") if isinstance(error, dict) else error,
    )
    text = next((place for place in places if isinstance(place, str) and place), None)
    if text is not None:
        return text
    value = next((body[name] for name in ("payload", "result", "event_data") if body.get(name)), None)
    if value is None:
        raise BadRequest("A message needs 'content', or an AgentMessage that says something.", field="content")
    return jsontext.encode_text(value)
