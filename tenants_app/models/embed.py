"""Tokens of chats that are embedded in other sites."""

from __future__ import annotations

from django.db import models

from core_app import clock
from tenants_app.models.account import ApiKey, Tenant


class EmbedToken(models.Model):
    """The right of one end user to talk to one agent or model from pages of some origins, for a short time.

    It ends with the key of the server that asked for it. `public_id` is no secret: the chat's frame is found by it.
    """

    public_id = models.CharField(max_length=40, unique=True)
    secret_hash = models.CharField(max_length=64, unique=True)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    api_key = models.ForeignKey(ApiKey, models.CASCADE, related_name="+")
    end_user = models.CharField(max_length=200)
    agent = models.CharField(max_length=64, blank=True, default="", db_default="")
    model = models.CharField(max_length=200, blank=True, default="", db_default="")
    origins = models.JSONField(default=list)
    approvals = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.public_id
