"""Operations of webhooks in the OpenAPI document, and the shapes of their responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.views import APIView

from edge_app.openapi import Operation, parameter
from edge_app.rest.paging import LIMIT_SCHEMA, MAX_LIMIT
from events_app.webhooks.models import DeliveryState
from events_app.webhooks.outbox import TEST_EVENT
from events_app.webhooks.services import MANY
from faces.native.openapi.shapes import StreamPosition, moment, text
from faces.native.serializers import WebhookCreateSerializer, WebhookPatchSerializer
from faces.native.views.webhooks import WebhookViewSet
from sessions_app.events import WEBHOOK_EVENTS

WEBHOOKS = "Webhooks"
ERRORS = [
    "status",
    "timeout",
    "unreachable",
    "address_refused",
    "gone",
    "event_removed",
    "secret_unreadable",
    "internal_error",
]


class WebhookSerializer(serializers.Serializer[Any]):
    """An endpoint that receives events of the tenant. Its secret is only in the response that creates it."""

    id = text(help_text="The webhook's id.")
    url = text(help_text="The address that receives the events.")
    events = serializers.ListField(
        child=serializers.ChoiceField(WEBHOOK_EVENTS), help_text="The event types that are sent."
    )
    description = text(help_text="A note for people.")
    createdAt = moment(help_text="The moment of creation.")
    disabledAt = moment(allow_null=True, help_text="While this is set, nothing is sent and no event is recorded.")
    disabledReason = serializers.ChoiceField(
        ["paused", "gone"], allow_null=True, help_text="`gone`: the receiver responded 410."
    )
    formerSecretUntil = moment(allow_null=True, help_text="Until then the former secret signs deliveries too.")


class WebhookIssuedSerializer(WebhookSerializer):
    """A webhook with its new secret, which is not shown again."""

    secret = text(help_text="`whsec_…`, for any library of Standard Webhooks.")


class WebhookListSerializer(serializers.Serializer[Any]):
    """Newest first."""

    webhooks = WebhookSerializer(many=True, help_text="The webhooks of the tenant.")


class WebhookDeliverySerializer(serializers.Serializer[Any]):
    """An event on its way to an endpoint. `id` is the `webhook-id` of all attempts."""

    id = text(help_text="The delivery's id, the `webhook-id` of all attempts.")
    type = serializers.ChoiceField(
        [*WEBHOOK_EVENTS, TEST_EVENT], help_text="The event type; `test` for a message of `POST …/test`."
    )
    sessionId = text(allow_null=True, help_text="The session of the event; null for a test.")
    eventId = StreamPosition(allow_null=True, help_text="The event's position in its session.")
    status = serializers.ChoiceField(
        DeliveryState.values, help_text="Whether the event is on its way, delivered, or given up."
    )
    attempts = serializers.IntegerField(help_text="Attempts so far.")
    lastStatusCode = serializers.IntegerField(
        allow_null=True, help_text="The receiver's last status; null when none came."
    )
    lastError = serializers.ChoiceField(
        ERRORS, allow_null=True, help_text="Why the last attempt failed; null after a success."
    )
    nextAttemptAt = moment(
        allow_null=True, help_text="Set while pending; null while an earlier delivery of the session is pending."
    )
    createdAt = moment(help_text="The moment of the event.")
    settledAt = moment(allow_null=True, help_text="The moment of delivery or giving up; null until then.")


class WebhookDeliveryPageSerializer(serializers.Serializer[Any]):
    """Newest first."""

    deliveries = WebhookDeliverySerializer(many=True, help_text="The deliveries of this page.")
    nextCursor = text(allow_null=True, help_text="`cursor` of the next page; null on the last one.")


class RedeliveredSerializer(serializers.Serializer[Any]):
    """The number of dead deliveries that are pending again."""

    redelivered = serializers.IntegerField(help_text="The number of deliveries that are pending again.")


_PAGES = (
    parameter("limit", {**LIMIT_SCHEMA, "default": 50}, f"At most {MAX_LIMIT}."),
    parameter("cursor", {"type": "string", "pattern": "^[ -~]{0,40}$"}, "`nextCursor` of the previous page."),
    parameter(
        "status", {"type": "string", "enum": [*DeliveryState.values, ""]}, "Those with this status; all if empty."
    ),
)

WEBHOOK_OPERATIONS: Mapping[tuple[type[APIView], str], Operation] = {
    (WebhookViewSet, "list"): Operation(
        id="listWebhooks", tag=WEBHOOKS, summary="List the webhooks", responses={200: WebhookListSerializer}
    ),
    (WebhookViewSet, "create"): Operation(
        id="createWebhook",
        tag=WEBHOOKS,
        summary="Create a webhook; the response contains its secret",
        request=WebhookCreateSerializer,
        example={"url": "https://example.com/hooks/gateway", "events": ["agent_end", "approval_required"]},
        responses={201: WebhookIssuedSerializer},
        errors=(409,),
        located=True,
    ),
    (WebhookViewSet, "retrieve"): Operation(
        id="getWebhook", tag=WEBHOOKS, summary="Get a webhook", responses={200: WebhookSerializer}
    ),
    (WebhookViewSet, "partial_update"): Operation(
        id="changeWebhook",
        tag=WEBHOOKS,
        summary="Change, disable or enable a webhook",
        request=WebhookPatchSerializer,
        example={"description": "The reviewers' channel", "disabled": True},
        responses={200: WebhookSerializer},
    ),
    (WebhookViewSet, "destroy"): Operation(
        id="deleteWebhook", tag=WEBHOOKS, summary="Delete a webhook and its deliveries", responses={204: None}
    ),
    (WebhookViewSet, "rotate"): Operation(
        id="rotateWebhookSecret",
        tag=WEBHOOKS,
        summary="Create a new secret; the former one signs too for 24 hours",
        responses={200: WebhookIssuedSerializer},
    ),
    (WebhookViewSet, "test"): Operation(
        id="testWebhook",
        tag=WEBHOOKS,
        summary="Send a message of type `test`",
        responses={202: WebhookDeliverySerializer},
        errors=(409,),
    ),
    (WebhookViewSet, "deliveries"): Operation(
        id="listWebhookDeliveries",
        tag=WEBHOOKS,
        summary="List deliveries, the newest first",
        query=_PAGES,
        responses={200: WebhookDeliveryPageSerializer},
    ),
    (WebhookViewSet, "redeliver_one"): Operation(
        id="redeliverWebhookDelivery",
        tag=WEBHOOKS,
        summary="Send a delivery again, or try the next attempt of a pending one now",
        responses={202: WebhookDeliverySerializer},
        errors=(409, 410),
    ),
    (WebhookViewSet, "redeliver"): Operation(
        id="redeliverWebhook",
        tag=WEBHOOKS,
        summary=f"Send the dead deliveries again, at most the {MANY} oldest",
        responses={202: RedeliveredSerializer},
        errors=(409,),
    ),
}
"""By viewset and action."""
