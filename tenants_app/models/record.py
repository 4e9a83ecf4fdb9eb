"""Records of requests: the ledger, responses stored for idempotent requests, and the audit trail.

Ledger and audit trail only grow. Idempotency records live for a day (`tenants_app.services.idempotency`).
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models

from core_app import clock
from tenants_app.models.account import ApiKey, Tenant


class LedgerEntry(models.Model):
    """The spend of one model response; unique, so that a leg that is executed again counts once.

    `run_id` is the run's id, or the request's on the inference paths. `cost_usd` is `None` for an unknown price.
    `folded` marks rows that are part of `UsageDay`. A highest id would not do, because rows commit out of order.
    """

    tenant = models.ForeignKey(Tenant, models.PROTECT, db_index=False, related_name="ledger")
    api_key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, blank=True, related_name="ledger")
    session_ref = models.CharField(max_length=80, blank=True, default="", db_index=True)
    run_id = models.CharField(max_length=80)
    response_no = models.PositiveIntegerField()
    model = models.CharField(max_length=200)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=20, decimal_places=10, null=True, blank=True)
    end_user = models.CharField(max_length=200, null=True, blank=True)
    kind = models.CharField(max_length=20, default="session")
    created_at = models.DateTimeField(default=clock.now)
    folded = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        verbose_name_plural = "ledger"
        constraints = [models.UniqueConstraint(name="ledger_response_once", fields=["run_id", "response_no"])]
        indexes = [
            models.Index(name="ledger_by_day", fields=["tenant", "created_at"]),
            models.Index(name="ledger_by_session", fields=["tenant", "session_ref"]),
            models.Index(
                name="ledger_by_end_user",
                fields=["tenant", "end_user", "created_at"],
                condition=models.Q(end_user__isnull=False),
            ),
            models.Index(name="ledger_unfolded", fields=["tenant", "created_at"], condition=models.Q(folded=False)),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} #{self.response_no}"


class IdempotencyRecord(models.Model):
    """The response to a POST with an Idempotency-Key. `claim` names the request that is processing it."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, db_index=False, related_name="+")
    key = models.CharField(max_length=255)
    route = models.CharField(max_length=300)
    body_hash = models.CharField(max_length=64)
    state = models.CharField(max_length=10, default="pending")
    claim = models.CharField(max_length=40)
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.TextField(default="")
    created_at = models.DateTimeField(default=clock.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="idempotency_key_once", fields=["tenant", "key", "route"]),
            models.CheckConstraint(name="idempotency_state", condition=models.Q(state__in=["pending", "done"])),
        ]

    def __str__(self) -> str:
        return f"{self.route} {self.key}"


class AuditEntry(models.Model):
    """An act of an actor on a target. Entries never change; `tenant` is `None` for acts on the whole gateway."""

    tenant = models.ForeignKey(Tenant, models.PROTECT, null=True, blank=True, db_index=False, related_name="audit")
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200, blank=True, default="")
    detail = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField(default=clock.now)

    class Meta:
        verbose_name_plural = "audit"
        indexes = [models.Index(name="audit_by_time", fields=["tenant", "at"])]

    def __str__(self) -> str:
        return f"{self.action} {self.target}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("An audit entry is never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("An audit entry is never removed.")
