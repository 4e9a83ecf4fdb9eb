"""Devices, which sign in with a key pair of their own, and the tokens with which RPC connections resume.

Both are identity: a device or a token names its tenant, and is revoked like an API key. A token's secret is never
stored, only its SHA-256.
"""

from __future__ import annotations

from django.db import models

from core_app import clock
from tenants_app.models.account import ApiKey, Tenant, User


class Device(models.Model):
    """A device of a tenant and its Ed25519 public key, which is 32 bytes in base64.

    Ids are unique within a tenant only, because a device picks its own: what a tenant registers tells nobody else
    anything and takes no id from them.
    """

    tenant = models.ForeignKey(Tenant, models.PROTECT, db_index=False, related_name="devices")
    device_id = models.CharField(max_length=128, db_index=True)
    public_key = models.CharField(max_length=44)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [models.UniqueConstraint(name="device_once", fields=["tenant", "device_id"])]

    def __str__(self) -> str:
        return self.device_id


class ConnectionToken(models.Model):
    """A token that an RPC connection got when it signed in, and with which its client resumes.

    It stands for the caller that signed in: an API key, a user, a device, or a guest, which has no row. `scopes` are
    those that the caller had.
    """

    tenant = models.ForeignKey(Tenant, models.PROTECT, db_index=False, related_name="+")
    secret_hash = models.CharField(max_length=64, unique=True)
    api_key = models.ForeignKey(ApiKey, models.CASCADE, null=True, blank=True, db_index=False, related_name="+")
    user = models.ForeignKey(User, models.CASCADE, null=True, blank=True, db_index=False, related_name="+")
    device = models.ForeignKey(Device, models.CASCADE, null=True, blank=True, db_index=False, related_name="+")
    name = models.CharField(max_length=200)
    guest = models.CharField(max_length=20, blank=True, default="")
    method = models.CharField(max_length=20)
    client_id = models.CharField(max_length=128)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [models.Index(name="connection_token_by_time", fields=["tenant", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.method} {self.name}"
