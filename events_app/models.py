"""The event log. Everything that a client can resume from is a row here.

`Stream` stays narrow, because every commit updates its row. `Event` holds the encoded wire data, or, in a group's
stream, only the position of the session's event that it counts.
"""

from __future__ import annotations

from django.db import models

from core_app import clock
from events_app.generations import Generations, Position
from events_app.webhooks.models import WebhookDelivery, WebhookEndpoint

__all__ = ["Event", "Incarnation", "Stream", "StreamToken", "WebhookDelivery", "WebhookEndpoint"]


class Incarnation(models.Model):
    """One life of the database, from one step back in time to the next (`events_app.incarnation`).

    `n` is the generation that streams begin with their first events in it. `identity` is what the database is
    recognised by.
    """

    n = models.BigIntegerField(primary_key=True)
    identity = models.TextField()
    began_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"generation {self.n}"


class Stream(models.Model):
    """One ordered log, and the lease of the process that may stream into it (docs/architecture.md).

    `kind` names its vocabulary. `head` is the newest offset, `floor` the newest one that retention removed.
    `generation` is the newest one, and `bases` has all of them (`events_app.generations`); the statement that moves the
    head sets both. `lease_expires` is in seconds since the epoch by the database's clock. `parent` is the stream that
    counts this one's events too. `tenant` is the tenant whose webhooks get its events.
    """

    kind = models.CharField(max_length=8)
    head = models.BigIntegerField(default=0)
    floor = models.BigIntegerField(default=0)
    # With defaults of the database: processes of the version before create streams without them.
    generation = models.BigIntegerField(default=0, db_default=0)
    bases = models.TextField(default="", db_default="")
    parent = models.ForeignKey("self", models.SET_NULL, null=True, db_index=False, related_name="+")
    tenant = models.ForeignKey(
        "tenants_app.Tenant", models.DO_NOTHING, null=True, db_index=False, db_constraint=False, related_name="+"
    )
    owner = models.CharField(max_length=64, null=True)
    epoch = models.BigIntegerField(default=0)
    lease_expires = models.FloatField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(name="stream_floor_within_head", condition=models.Q(floor__lte=models.F("head"))),
        ]
        indexes = [
            # Used when a stream is removed; few streams have a parent, and it rarely changes.
            models.Index(name="stream_children", fields=["parent"], condition=models.Q(parent__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind}:{self.pk}"

    @property
    def newest(self) -> Position:
        """The position of the newest event."""
        return Generations.parse(self.bases).position(self.head)


class Event(models.Model):
    """One row of a stream. `data` is the encoded wire object; a pointer has the position of its `source` instead.

    There is no constraint in the database: a check per row would cost the log a quarter of its rate, and rows are
    written under the stream's lock only.
    """

    pk = models.CompositePrimaryKey("stream_id", "offset")
    stream = models.ForeignKey(Stream, models.DO_NOTHING, db_index=False, db_constraint=False, related_name="events")
    offset = models.BigIntegerField()
    type = models.CharField(max_length=40)
    run_id = models.CharField(max_length=40, null=True)
    data = models.TextField(null=True)
    source = models.ForeignKey(
        Stream, models.DO_NOTHING, null=True, db_index=False, db_constraint=False, related_name="+"
    )
    source_offset = models.BigIntegerField(null=True)

    class Meta:
        indexes = [
            # Only pointers are in it: the rows of sessions pay nothing for it.
            models.Index(
                name="event_by_source", fields=["source", "source_offset"], condition=models.Q(source__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id}@{self.offset} {self.type}"


class StreamToken(models.Model):
    """A credential for reading one stream. `expires_at` is early until the first connection.

    The table keeps the name from when tokens belonged to sessions. `session_id` is for processes of the version before:
    they write no `stream`, and find tokens by the session. The next version drops it.
    """

    secret_hash = models.CharField(max_length=64, unique=True)
    # Without a constraint: the version before removes streams and does not know that tokens refer to them.
    stream = models.ForeignKey(Stream, models.CASCADE, null=True, db_constraint=False, related_name="+")
    session_id = models.BigIntegerField(null=True, db_index=True)
    api_key = models.ForeignKey("tenants_app.ApiKey", models.CASCADE, null=True, related_name="+")
    user = models.ForeignKey("tenants_app.User", models.CASCADE, null=True, related_name="+")
    # A person may have a role in several tenants, and the token ends when the browser that asked for it signs out.
    tenant_id = models.BigIntegerField(null=True)
    browser_session = models.CharField(max_length=64, default="", db_default="")
    created_at = models.DateTimeField(auto_now_add=True)
    connected_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "sessions_app_streamtoken"
        constraints = [
            models.CheckConstraint(
                name="stream_token_has_a_holder",
                condition=models.Q(api_key__isnull=False, user__isnull=True)
                | models.Q(api_key__isnull=True, user__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"token {self.pk}"
