"""The room's tables: tenants, users, roles, API keys, devices, connection tokens, ledger, idempotency, audit."""

from __future__ import annotations

from tenants_app.models.account import ApiKey, Tenant, User
from tenants_app.models.device import ConnectionToken, Device
from tenants_app.models.embed import EmbedToken
from tenants_app.models.membership import Membership, PersonIdentity
from tenants_app.models.record import AuditEntry, IdempotencyRecord, LedgerEntry
from tenants_app.models.usage import UsageDay, UsageRun

__all__ = [
    "ApiKey",
    "AuditEntry",
    "ConnectionToken",
    "Device",
    "EmbedToken",
    "IdempotencyRecord",
    "LedgerEntry",
    "Membership",
    "PersonIdentity",
    "Tenant",
    "UsageDay",
    "UsageRun",
    "User",
]
