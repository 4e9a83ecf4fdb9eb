"""Schemas of tool registrations for the OpenAPI document. `tools_app.registry` does the validation."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers

from edge_app.openapi import Schema
from edge_app.rest.fields import JSONObject, StrictBoolean, StrictInteger, StrictString
from tools_app import registry


class ToolRegistrationSerializer(serializers.Serializer[Any]):
    """Registering a name again replaces the tool. Without `callbackUrl` the connected client runs it."""

    name = serializers.RegexField(registry.NAME_PATTERN)
    description = StrictString(
        required=False, allow_null=True, allow_blank=True, max_length=registry.MAX_DESCRIPTION_CHARACTERS
    )
    parameters = JSONObject(required=False, allow_null=True, help_text="A JSON Schema object.")
    callbackUrl = StrictString(required=False, allow_null=True)
    timeoutMs = StrictInteger(
        required=False, allow_null=True, min_value=registry.TIMEOUT_MS[0], max_value=registry.TIMEOUT_MS[-1]
    )
    requiresApproval = StrictBoolean(required=False, allow_null=True)
    hint = StrictString(required=False, allow_null=True, allow_blank=True, max_length=registry.MAX_HINT_CHARACTERS)
    secret = StrictString(required=False, allow_null=True, help_text="`whsec_…`; the tenant's own without it.")
    idempotent = StrictBoolean(required=False, allow_null=True)


class ToolEntrySchema(OpenApiSerializerFieldExtension):
    """Describes `tools` of a new session: names and registrations."""

    target_class = "faces.native.serializers.ToolEntry"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        return {"oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/ToolRegistrationRequest"}]}
