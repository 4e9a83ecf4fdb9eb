"""Tenants, users and API keys.

A key's secret is never stored: `secret_hash` is its SHA-256, which suffices for secrets of high entropy, and people
recognise a key by its `prefix`. Tenants are disabled, not deleted, because their ledger and audit trail must stay.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models

from core_app import clock

SLUG = RegexValidator(r"\A[a-z0-9][a-z0-9_-]{0,62}\Z", "A slug has 1 to 63 lower-case letters, digits, '-' and '_'.")


class Tenant(models.Model):
    """The owner of sessions, keys and all other data. Each of its `settings` overrides a default of the gateway."""

    slug = models.CharField(max_length=63, unique=True, validators=[SLUG])
    name = models.CharField(max_length=200)
    settings = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    disabled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug

    @property
    def approvals_in_sessions(self) -> bool:
        """True, the default, when the scope `sessions` includes deciding approvals."""
        return bool(self.settings.get("approvals_in_sessions", True))

    @property
    def allow_private(self) -> bool:
        """True when this tenant's callbacks may go to private addresses even without GATEWAY_CALLBACK_ALLOW_PRIVATE."""
        return bool(self.settings.get("allow_private", False))

    @property
    def stores_responses(self) -> bool | None:
        """The tenant's own setting for responses that do not say `store`; None without one."""
        own = self.settings.get("store_responses")
        return None if own is None else bool(own)

    def rpm_beside(self, key_rpm: int) -> int:
        """The limit of all keys together, for a request with a key of `key_rpm`; 0 means none.

        The tenant's setting `rpm` holds for every key. The gateway's default holds for the keys below it: an operator
        who gave a key a higher limit, or none, meant it.
        """
        own = self.settings.get("rpm")
        if own is not None:
            return int(own)
        default: int = settings.GATEWAY_TENANT_RATE_LIMIT_RPM
        return default if 0 < key_rpm <= default else 0

    @property
    def default_model(self) -> str | None:
        """Model for requests that name neither model nor agent; `None` means the gateway's default."""
        return self.settings.get("default_model") or None

    @property
    def default_agent(self) -> str | None:
        """Agent for such requests, which takes precedence over `default_model`; `None` means the gateway's default."""
        return self.settings.get("default_agent") or None


class User(AbstractUser):
    """A person who signs in to the admin or the console. Users without a tenant operate the gateway."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, null=True, blank=True, related_name="users")
    scopes = models.JSONField(default=list, blank=True)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Saves the user; with another password, or without one, the session tokens end that it once gave."""
        changed = getattr(self, "_password", None) is not None or not self.has_usable_password()
        super().save(*args, **kwargs)
        if changed:
            tokens = apps.get_model("tenants_app", "ConnectionToken")._default_manager
            tokens.filter(user_id=self.pk, revoked_at=None).update(revoked_at=clock.now())


class ApiKey(models.Model):
    """An API key of a tenant. `rpm` is its rate limit: `None` means GATEWAY_RATE_LIMIT_RPM, 0 no limit."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=24, db_index=True)
    secret_hash = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    rpm = models.PositiveIntegerField(null=True, blank=True)
    seeded = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def is_good(self, moment: datetime) -> bool:
        """True when the key is neither revoked nor expired at `moment`; the tenant is not checked."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > moment)
