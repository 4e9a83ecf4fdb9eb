"""Schemas of tool registrations for the OpenAPI document. `tools_app.registry` does the validation."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers

from edge_app.openapi import Schema
from edge_app.rest.fields import JSONObject, StrictBoolean, StrictInteger, StrictString
from sessions_app.events import WEBHOOK_EVENTS
from tools_app import registry


class ToolRegistrationSerializer(serializers.Serializer[Any]):
    """Registering a name again replaces the tool. Without `callbackUrl` the connected client runs it."""

    name = serializers.RegexField(
        registry.NAME_PATTERN,
        help_text="The name by which the model calls the tool; a built-in tool's name is refused.",
    )
    description = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=registry.MAX_DESCRIPTION_CHARACTERS,
        help_text="What the tool does and when to call it, as the model is told.",
    )
    parameters = JSONObject(
        required=False,
        allow_null=True,
        help_text="A JSON Schema object for the arguments; a call that violates it goes back to the model.",
    )
    callbackUrl = StrictString(
        required=False,
        allow_null=True,
        help_text="The https address that runs the tool; without it the connected client runs it.",
    )
    timeoutMs = StrictInteger(
        required=False,
        allow_null=True,
        min_value=registry.TIMEOUT_MS[0],
        max_value=registry.TIMEOUT_MS[-1],
        help_text="The time that a call may take, in milliseconds; 30000 by default.",
    )
    requiresApproval = StrictBoolean(
        required=False, allow_null=True, help_text="Whether a person has to approve every call; false by default."
    )
    hint = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=registry.MAX_HINT_CHARACTERS,
        help_text="A sentence for the person who approves.",
    )
    secret = StrictString(
        required=False,
        allow_null=True,
        help_text="The secret that signs callbacks, `whsec_…`; without it the tenant's own.",
    )
    idempotent = StrictBoolean(
        required=False,
        allow_null=True,
        help_text="True: after a crash in its middle a call is repeated with the same id. False:"
        " the model is told that it may have taken effect.",
    )


class EventTypeSchema(OpenApiSerializerFieldExtension):
    """Describes the types of events that webhooks have."""

    target_class = "faces.native.serializers.EventType"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        return {"type": "string", "enum": list(WEBHOOK_EVENTS)}


class ToolEntrySchema(OpenApiSerializerFieldExtension):
    """Describes `tools` of a new session: names and registrations."""

    target_class = "faces.native.session_serializers.ToolEntry"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        return {"oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/ToolRegistrationRequest"}]}
