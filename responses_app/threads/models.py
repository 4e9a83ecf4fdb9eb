"""Threads and their turns. A client's JSON is stored as the text that was accepted."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class MessageThread(models.Model):
    """A conversation. Each of its answers is continued once, so its turns are numbered from 1 to `last_number`.

    `public_id` is the id of its first answer. `context` has the fields that the thread was created with and that later
    requests do not repeat. `claim` names the request that continues the thread now; it counts until `claimed_until`,
    because the process of that request may have died.
    """

    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False)
    api_key = models.ForeignKey("tenants_app.ApiKey", models.SET_NULL, null=True, db_index=False)
    public_id = models.CharField(max_length=64)
    context = models.TextField(default="{}")
    last_number = models.BigIntegerField(default=0)
    claim = models.CharField(max_length=40, null=True)
    claimed_until = models.DateTimeField(null=True)
    end_user = models.CharField(max_length=200, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-id"], name="thread_newest"),
            models.Index(fields=["tenant", "updated_at"], name="thread_by_age"),
            models.Index(fields=["tenant", "end_user"], condition=Q(end_user__isnull=False), name="thread_end_user"),
        ]

    def __str__(self) -> str:
        return self.public_id


class ThreadTurn(models.Model):
    """One request of a thread with its answer.

    `messages` are those of the request itself. `reply` is the content of the answer, `body` the answer without it.
    """

    tenant = models.ForeignKey("tenants_app.Tenant", models.PROTECT, db_index=False)
    thread = models.ForeignKey(MessageThread, models.CASCADE, related_name="turns", db_index=False)
    number = models.BigIntegerField()
    public_id = models.CharField(max_length=64)
    model = models.CharField(max_length=200)
    messages = models.TextField()
    reply = models.TextField()
    body = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "public_id"], name="thread_turn_id_unique"),
            models.UniqueConstraint(fields=["thread", "number"], name="thread_turn_number_unique"),
        ]

    def __str__(self) -> str:
        return self.public_id
