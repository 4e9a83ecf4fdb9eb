"""Request bodies of the chat to embed."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from edge_app.rest.fields import StrictBoolean, StrictInteger, StrictString
from tenants_app.services.embed_token import DEFAULT_SECONDS, MAX_ORIGIN, MAX_ORIGINS, SECONDS

MAX_PROMPT = 32 * 1024


class EmbedTokenSerializer(serializers.Serializer[Any]):
    """POST /v1/embed-tokens."""

    endUser = StrictString(max_length=200, help_text="Your id of the person; sessions are theirs alone.")
    agent = StrictString(required=False, allow_null=True, max_length=64)
    model = StrictString(required=False, allow_null=True, max_length=200, help_text="In place of an agent.")
    origins = serializers.ListField(
        child=StrictString(max_length=MAX_ORIGIN),
        max_length=MAX_ORIGINS,
        help_text="The sites that show the chat: https://www.example.com.",
    )
    ttlSeconds = StrictInteger(default=DEFAULT_SECONDS, min_value=SECONDS.start, max_value=SECONDS.stop - 1)
    approvals = StrictBoolean(default=False, help_text="Whether the end user decides about tool calls.")


class EmbedPromptSerializer(serializers.Serializer[Any]):
    """POST …/prompt."""

    text = StrictString(max_length=MAX_PROMPT)


class EmbedDecisionSerializer(serializers.Serializer[Any]):
    """POST …/decide."""

    approvalId = StrictString(max_length=64)
    approve = StrictBoolean()
    argsHash = StrictString(max_length=64, help_text="Of the event: what the person saw.")
