"""Webhook endpoints of tenants, and the deliveries to them.

A delivery is written in the transaction that appends its event (`events_app.webhooks.outbox`), and names the event
instead of copying it, so retention and erasure concern the log only. No foreign key of a delivery is a constraint, so
that deleting a webhook never makes the end of a run fail.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from core_app import clock
from core_app.ids import new_id
from events_app.generations import Position


def endpoint_id() -> str:
    """Returns a public id for a new endpoint."""
    return new_id("whk")


def delivery_id() -> str:
    """Returns an id for a new delivery, which receivers get as `webhook-id` with every attempt."""
    return new_id("msg")


class DeliveryState(models.TextChoices):
    """pending → delivered | dead. Redelivery makes both pending again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class WebhookEndpoint(models.Model):
    """An address of a tenant that gets events. `events` are their types; secrets are sealed.

    `former_secret` signs together with the present one until `former_until`. `disabled_reason` is `gone` when the
    receiver responded with 410, `paused` when a person disabled the endpoint.
    """

    public_id = models.CharField(max_length=40, unique=True, default=endpoint_id)
    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False, related_name="+")
    url = models.TextField()
    events = models.JSONField(default=list)
    description = models.CharField(max_length=200, default="", blank=True)
    secret = models.TextField()
    former_secret = models.TextField(null=True)
    former_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)
    disabled_at = models.DateTimeField(null=True)
    disabled_reason = models.CharField(max_length=20, null=True)

    class Meta:
        verbose_name = "webhook"
        indexes = [
            models.Index(name="webhook_newest", fields=["tenant", "-id"]),
            # Read with every such event of every tenant.
            models.Index(name="webhook_in_use", fields=["tenant"], condition=Q(disabled_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.public_id


class WebhookDelivery(models.Model):
    """One event for one endpoint; a `test` has no event.

    `due_at` is when the next attempt may begin, in seconds since the epoch by the database's clock. A sender claims a
    delivery by moving `due_at` into the future, so the deliveries of a killed sender become due again by themselves;
    `claim` names the sender's claim. `due_at` is null while an earlier event of the same stream is still pending for
    this endpoint: of these only the first one is attempted.
    """

    id = models.CharField(primary_key=True, max_length=40, default=delivery_id)
    endpoint = models.ForeignKey(WebhookEndpoint, models.DO_NOTHING, db_index=False, db_constraint=False)
    stream = models.ForeignKey(
        "events_app.Stream", models.DO_NOTHING, null=True, db_index=False, db_constraint=False, related_name="+"
    )
    offset = models.BigIntegerField(null=True)
    # With a default of the database: processes of the version before create deliveries without it.
    generation = models.BigIntegerField(default=0, db_default=0)
    type = models.CharField(max_length=40)
    state = models.CharField(max_length=10, default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.FloatField(null=True)
    claim = models.CharField(max_length=40, null=True)
    last_status = models.PositiveSmallIntegerField(null=True)
    last_error = models.CharField(max_length=20, null=True)
    created_at = models.DateTimeField(default=clock.now)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(name="webhook_event_once", fields=["stream", "offset", "endpoint"]),
            models.CheckConstraint(
                name="webhook_delivery_state",
                condition=Q(state=DeliveryState.PENDING, settled_at__isnull=True)
                | Q(state__in=[DeliveryState.DELIVERED, DeliveryState.DEAD], due_at__isnull=True, claim__isnull=True),
            ),
        ]
        indexes = [
            models.Index(name="webhook_due", fields=["endpoint", "due_at"], condition=Q(due_at__isnull=False)),
            models.Index(
                name="webhook_in_line",
                fields=["stream", "endpoint", "offset"],
                condition=Q(state=DeliveryState.PENDING),
            ),
            models.Index(name="webhook_delivery_newest", fields=["endpoint", "-id"]),
            # Dead deliveries are few among many, of one webhook and of all.
            models.Index(name="webhook_delivery_by_state", fields=["endpoint", "state", "-id"]),
            models.Index(name="webhook_state_newest", fields=["state", "-id"]),
            models.Index(name="webhook_settled", fields=["settled_at"], condition=Q(settled_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def position(self) -> Position | None:
        """The position of its event; None for a test."""
        return None if self.offset is None else Position(self.offset, self.generation)
