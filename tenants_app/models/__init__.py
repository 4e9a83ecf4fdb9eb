"""Who data belongs to, who may reach it, what was spent and what was done: the tables of this room."""

from __future__ import annotations

from tenants_app.models.account import ApiKey, Tenant, User
from tenants_app.models.record import AuditEntry, IdempotencyRecord, LedgerEntry
from tenants_app.models.usage import UsageDay, UsageRun

__all__ = ["ApiKey", "AuditEntry", "IdempotencyRecord", "LedgerEntry", "Tenant", "UsageDay", "UsageRun", "User"]
