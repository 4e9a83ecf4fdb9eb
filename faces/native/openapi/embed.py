"""Operations of the chat to embed in the OpenAPI document, and the shapes of their responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.views import APIView

from edge_app.openapi import Operation, Schema
from faces.native.embed.serializers import EmbedDecisionSerializer, EmbedPromptSerializer, EmbedTokenSerializer
from faces.native.embed.views import EmbedSessionViewSet, EmbedTokenViewSet
from faces.native.openapi import shapes
from faces.native.openapi.shapes import StreamPosition, moment, text
from faces.native.serializers import RespondSerializer
from sessions_app.models import SessionState

EMBED = "Chat to embed"


class EmbedTokenIssuedSerializer(serializers.Serializer[Any]):
    """A token for the page of one end user."""

    token = text(help_text="For `data-token`; not shown again.")
    expiresAt = moment()


class EmbedSessionSerializer(serializers.Serializer[Any]):
    """A session of the token's end user."""

    sessionId = text()
    state = serializers.ChoiceField(SessionState.values)
    createdAt = moment()
    lastEventIndex = StreamPosition()


class EmbedMessageSerializer(serializers.Serializer[Any]):
    """A message of the end user or the agent."""

    id = text()
    role = serializers.ChoiceField(["user", "assistant"])
    content = serializers.JSONField()
    createdAt = moment()


class EmbedMessagesSerializer(serializers.Serializer[Any]):
    """The newest messages, the oldest of them first."""

    messages = EmbedMessageSerializer(many=True)


def embed_events() -> Schema:
    """Describes GET …/events of the chat."""
    return {
        "operationId": "embedFollow",
        "tags": [EMBED],
        "summary": "Follow the conversation of an embedded chat",
        "description": "The session's events without arguments and results of tools, until the session closes.",
        "parameters": [
            {"name": "session_id", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "since", "in": "query", "schema": {"type": "string"}, "description": "Events after this one."},
        ],
        "responses": {"200": {"description": "The stream.", "content": {"text/event-stream": {"schema": {}}}}},
        "x-errors": [401, 404],
    }


EMBED_OPERATIONS: Mapping[tuple[type[APIView], str], Operation] = {
    (EmbedTokenViewSet, "create"): Operation(
        id="issueEmbedToken",
        tag=EMBED,
        summary="Create a token for the embedded chat of one end user",
        request=EmbedTokenSerializer,
        responses={201: EmbedTokenIssuedSerializer},
        errors=(422,),
    ),
    (EmbedSessionViewSet, "create"): Operation(
        id="embedCreateSession",
        tag=EMBED,
        summary="Begin a chat (X-Embed-Token)",
        responses={201: EmbedSessionSerializer},
        errors=(422,),
    ),
    (EmbedSessionViewSet, "retrieve"): Operation(
        id="embedGetSession", tag=EMBED, summary="Get a chat (X-Embed-Token)", responses={200: EmbedSessionSerializer}
    ),
    (EmbedSessionViewSet, "messages"): Operation(
        id="embedGetMessages",
        tag=EMBED,
        summary="Get what was said (X-Embed-Token)",
        responses={200: EmbedMessagesSerializer},
    ),
    (EmbedSessionViewSet, "prompt"): Operation(
        id="embedPrompt",
        tag=EMBED,
        summary="Send a message (X-Embed-Token)",
        request=EmbedPromptSerializer,
        responses={202: shapes.PromptReceiptSerializer},
        errors=(409,),
    ),
    (EmbedSessionViewSet, "abort"): Operation(
        id="embedAbort",
        tag=EMBED,
        summary="Stop the answer (X-Embed-Token)",
        responses={202: shapes.AbortReceiptSerializer},
        errors=(409,),
    ),
    (EmbedSessionViewSet, "respond"): Operation(
        id="embedRespond",
        tag=EMBED,
        summary="Answer a question of the agent (X-Embed-Token)",
        request=RespondSerializer,
        responses={200: shapes.AnswerReceiptSerializer},
        errors=(409, 410),
    ),
    (EmbedSessionViewSet, "decide"): Operation(
        id="embedDecide",
        tag=EMBED,
        summary="Approve or reject a tool call, where the token allows it (X-Embed-Token)",
        request=EmbedDecisionSerializer,
        responses={200: shapes.DecisionSerializer},
        errors=(409, 410),
    ),
}
"""By viewset and action."""
