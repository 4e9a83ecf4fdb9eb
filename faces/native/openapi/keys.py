"""Operations of API keys in the OpenAPI document, and the shapes of their responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.views import APIView

from edge_app.openapi import Operation, parameter
from edge_app.rest.paging import MAX_LIMIT
from faces.native.openapi.shapes import moment, text
from faces.native.serializers import KeyCreateSerializer
from faces.native.views.keys import KeyViewSet

KEYS = "Keys"


class KeySerializer(serializers.Serializer[Any]):
    """An API key of the tenant, without its secret."""

    id = text()
    name = text()
    prefix = text(help_text="The first characters of the secret, by which people recognise it.")
    scopes = serializers.ListField(child=serializers.CharField())
    rpm = serializers.IntegerField(allow_null=True, help_text="Null: GATEWAY_RATE_LIMIT_RPM; 0: no limit.")
    state = serializers.ChoiceField(["active", "revoked", "expired"])
    seeded = serializers.BooleanField(help_text="True for a key of GATEWAY_API_KEYS, which is changed there.")
    createdAt = moment()
    expiresAt = moment(allow_null=True)
    revokedAt = moment(allow_null=True)
    lastUsedAt = moment(allow_null=True)


class KeyIssuedSerializer(KeySerializer):
    """A key with its new secret, which is not shown again."""

    secret = text()


class KeyPageSerializer(serializers.Serializer[Any]):
    """Newest first."""

    keys = KeySerializer(many=True)
    nextCursor = text(allow_null=True, help_text="`cursor` of the next page; null on the last one.")


_PAGES = (
    parameter("limit", {"type": "integer", "minimum": 0, "default": 50}, f"At most {MAX_LIMIT}."),
    parameter("cursor", {"type": "string", "pattern": "^[0-9]{0,18}$"}, "`nextCursor` of the previous page."),
)

KEY_OPERATIONS: Mapping[tuple[type[APIView], str], Operation] = {
    (KeyViewSet, "list"): Operation(
        id="listKeys", tag=KEYS, summary="List the tenant's API keys", query=_PAGES, responses={200: KeyPageSerializer}
    ),
    (KeyViewSet, "create"): Operation(
        id="issueKey",
        tag=KEYS,
        summary="Issue a key; the response contains its secret",
        request=KeyCreateSerializer,
        responses={201: KeyIssuedSerializer},
        located=True,
    ),
    (KeyViewSet, "retrieve"): Operation(id="getKey", tag=KEYS, summary="Get a key", responses={200: KeySerializer}),
    (KeyViewSet, "destroy"): Operation(id="revokeKey", tag=KEYS, summary="Revoke a key", responses={204: None}),
    (KeyViewSet, "rotate"): Operation(
        id="rotateKey",
        tag=KEYS,
        summary="Create a new secret; the former one stops at once",
        responses={200: KeyIssuedSerializer},
        errors=(409,),
    ),
}
"""By viewset and action."""
