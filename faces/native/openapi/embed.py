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
CREDENTIAL = "embedToken"
"""The security scheme of the chat's own paths."""


class EmbedTokenIssuedSerializer(serializers.Serializer[Any]):
    """A token for the page of one end user."""

    token = text(help_text="For `data-token`; not shown again.")
    expiresAt = moment(help_text="The moment from which the token is refused.")


class EmbedSessionSerializer(serializers.Serializer[Any]):
    """A session of the token's end user."""

    sessionId = text(help_text="The session's id.")
    state = serializers.ChoiceField(SessionState.values, help_text="What the session does or waits for.")
    createdAt = moment(help_text="The moment of creation.")
    lastEventIndex = StreamPosition(help_text="The position of the stream's newest event.")


class EmbedMessageSerializer(serializers.Serializer[Any]):
    """A message of the end user or the agent."""

    id = text(help_text="The message's id.")
    role = serializers.ChoiceField(["user", "assistant"], help_text="Who said it.")
    content = serializers.JSONField(help_text="The text, or a list of parts.")
    createdAt = moment(help_text="The moment at which it was said.")


class EmbedMessagesSerializer(serializers.Serializer[Any]):
    """The newest messages, the oldest of them first."""

    messages = EmbedMessageSerializer(many=True, help_text="The conversation.")


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
        "x-credential": CREDENTIAL,
    }


EMBED_OPERATIONS: Mapping[tuple[type[APIView], str], Operation] = {
    (EmbedTokenViewSet, "create"): Operation(
        id="issueEmbedToken",
        tag=EMBED,
        summary="Create a token for the embedded chat of one end user",
        request=EmbedTokenSerializer,
        example={"endUser": "alice", "model": "demo:tour", "origins": ["https://www.example.com"]},
        responses={201: EmbedTokenIssuedSerializer},
        errors=(422,),
    ),
    (EmbedSessionViewSet, "create"): Operation(
        id="embedCreateSession",
        tag=EMBED,
        credential=CREDENTIAL,
        summary="Begin a chat",
        responses={201: EmbedSessionSerializer},
        errors=(422,),
    ),
    (EmbedSessionViewSet, "retrieve"): Operation(
        id="embedGetSession",
        tag=EMBED,
        credential=CREDENTIAL,
        summary="Get a chat",
        responses={200: EmbedSessionSerializer},
    ),
    (EmbedSessionViewSet, "messages"): Operation(
        id="embedGetMessages",
        tag=EMBED,
        credential=CREDENTIAL,
        summary="Get what was said",
        responses={200: EmbedMessagesSerializer},
    ),
    (EmbedSessionViewSet, "prompt"): Operation(
        id="embedPrompt",
        tag=EMBED,
        credential=CREDENTIAL,
        summary="Send a message",
        request=EmbedPromptSerializer,
        example={"text": "Hello"},
        responses={202: shapes.PromptReceiptSerializer},
        errors=(409,),
    ),
    (EmbedSessionViewSet, "abort"): Operation(
        id="embedAbort",
        tag=EMBED,
        credential=CREDENTIAL,
        summary="Stop the answer",
        responses={202: shapes.AbortReceiptSerializer},
        errors=(409,),
    ),
    (EmbedSessionViewSet, "respond"): Operation(
        id="embedRespond",
        tag=EMBED,
        credential=CREDENTIAL,
        summary="Answer a question of the agent",
        request=RespondSerializer,
        example={"ref": "ask_01m8q0000000000000000000", "response": "Yes"},
        responses={200: shapes.AnswerReceiptSerializer},
        errors=(409, 410),
    ),
    (EmbedSessionViewSet, "decide"): Operation(
        id="embedDecide",
        tag=EMBED,
        credential=CREDENTIAL,
        summary="Approve or reject a tool call, where the token allows it",
        request=EmbedDecisionSerializer,
        example={"approvalId": "apr_01m8q0000000000000000000", "approve": True, "argsHash": "0" * 64},
        responses={200: shapes.DecisionSerializer},
        errors=(409, 410),
    ),
}
"""By viewset and action."""
