"""The room's tables: tenants, users, API keys, the ledger, idempotency records and the audit trail."""

from __future__ import annotations

from tenants_app.models.account import ApiKey, Tenant, User
from tenants_app.models.record import AuditEntry, IdempotencyRecord, LedgerEntry
from tenants_app.models.usage import UsageDay, UsageRun

__all__ = ["ApiKey", "AuditEntry", "IdempotencyRecord", "LedgerEntry", "Tenant", "UsageDay", "UsageRun", "User"]
