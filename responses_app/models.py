"""Stored responses. A client's JSON is stored as the text that was accepted."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from responses_app.threads.models import MessageThread, ThreadTurn

__all__ = [
    "Conversation",
    "ConversationItem",
    "MessageThread",
    "ResponseItem",
    "ResponseStatus",
    "StoredResponse",
    "ThreadTurn",
]


class ResponseStatus(models.TextChoices):
    """The states of a response: queued → in_progress → completed | incomplete | failed | cancelled."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Kind(models.TextChoices):
    """The API that a response is of: the Responses API, or Chat Completions or Messages in the background."""

    RESPONSES = "responses"
    CHAT = "chat"
    MESSAGES = "messages"


UNFINISHED = (ResponseStatus.QUEUED, ResponseStatus.IN_PROGRESS)


class Conversation(models.Model):
    """Items that responses read and add to. `last_number` is the number of the newest item that it ever had."""

    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False)
    public_id = models.CharField(max_length=64)
    metadata = models.TextField(default="{}")
    last_number = models.BigIntegerField(default=0)
    end_user = models.CharField(max_length=200, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "public_id"], name="conversation_id_unique")]
        indexes = [
            models.Index(fields=["tenant", "-id"], name="conversation_newest"),
            models.Index(fields=["tenant", "updated_at"], name="conversation_by_age"),
            models.Index(fields=["tenant", "end_user"], condition=Q(end_user__isnull=False), name="conversation_user"),
        ]

    def __str__(self) -> str:
        return self.public_id


class ConversationItem(models.Model):
    """One item of a conversation, as the API lists it."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="items", db_index=False)
    number = models.BigIntegerField()
    public_id = models.CharField(max_length=128)
    data = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["conversation", "number"], name="conversation_number_unique"),
            models.UniqueConstraint(fields=["conversation", "public_id"], name="conversation_item_unique"),
        ]

    def __str__(self) -> str:
        return self.public_id


class StoredResponse(models.Model):
    """One response of a tenant.

    `input` are the items of its own request, not those of the responses before it. `body` is the response's object
    without its `output`, which stands apart, because a chain reads only items. The first `abandoned` items of `output`
    are those of attempts that were cut off: clients saw them, models do not. A response in a conversation has read its
    items up to `conversation_through`; the conversation may be gone.

    `request` (the other fields for the provider), `session`, `run_id` and `stream` belong to a background response; it
    has a stream if it was asked to stream.

    A row of another `kind` is a completion in the background: `input` are its messages, `output` is its whole answer
    once there is one, `body` what is known of it beside that, and `abandoned` counts the events of its stream before
    its newest attempt.
    """

    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False)
    api_key = models.ForeignKey("tenants_app.ApiKey", models.SET_NULL, null=True, db_index=False)
    public_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=10, default=Kind.RESPONSES, db_default=Kind.RESPONSES.value)
    previous_id = models.CharField(max_length=64, null=True)
    conversation = models.ForeignKey(Conversation, models.SET_NULL, null=True, db_index=False)
    conversation_through = models.BigIntegerField(null=True)
    status = models.CharField(max_length=12, default=ResponseStatus.QUEUED)
    model = models.CharField(max_length=200)
    background = models.BooleanField(default=False)
    input = models.TextField()
    request = models.TextField(default="{}")
    body = models.TextField()
    output = models.TextField(default="[]")
    abandoned = models.PositiveIntegerField(default=0)
    restarts = models.PositiveIntegerField(default=0)
    end_user = models.CharField(max_length=200, null=True)
    session = models.ForeignKey("sessions_app.AgentSession", models.SET_NULL, null=True, db_index=False)
    run_id = models.CharField(max_length=40, null=True)
    stream = models.OneToOneField("events_app.Stream", models.PROTECT, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "public_id"], name="response_public_id_unique"),
            models.CheckConstraint(name="response_status_known", condition=Q(status__in=ResponseStatus.values)),
        ]
        indexes = [
            models.Index(fields=["tenant", "-id"], name="response_newest"),
            models.Index(fields=["tenant", "updated_at"], name="response_by_age"),
            models.Index(fields=["tenant", "end_user"], condition=Q(end_user__isnull=False), name="response_end_user"),
            models.Index(fields=["run_id"], condition=Q(run_id__isnull=False), name="response_by_run"),
            models.Index(
                fields=["conversation"], condition=Q(conversation__isnull=False), name="response_by_conversation"
            ),
            models.Index(fields=["session"], condition=Q(session__isnull=False), name="response_by_session"),
            models.Index(fields=["created_at"], condition=Q(status__in=UNFINISHED), name="response_unfinished"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def finished(self) -> bool:
        """True when the response changes no more."""
        return self.status not in UNFINISHED


class ResponseItem(models.Model):
    """The id of an item of a response's output, by which requests may refer to it."""

    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False)
    response = models.ForeignKey(StoredResponse, models.CASCADE, related_name="items")
    public_id = models.CharField(max_length=128)

    class Meta:
        indexes = [models.Index(fields=["tenant", "public_id"], name="response_item_id")]

    def __str__(self) -> str:
        return self.public_id
