"""Services that change this room's tables. Faces, commands and admin actions call these."""

from __future__ import annotations

from tenants_app.services.api_key import (
    IssuedKey,
    api_key_issue,
    api_key_revoke,
    api_key_rotate,
    api_key_update,
)
from tenants_app.services.audit import audit_record
from tenants_app.services.bootstrap import FirstStart, bootstrap_first_start, gateway_user_ensure, keys_seed
from tenants_app.services.idempotency import (
    Replay,
    idempotency_begin,
    idempotency_complete,
    idempotency_purge,
    idempotency_release,
)
from tenants_app.services.ledger import LedgerRow, ledger_record, ledger_record_many
from tenants_app.services.tenant import tenant_create, tenant_update

__all__ = [
    "FirstStart",
    "IssuedKey",
    "LedgerRow",
    "Replay",
    "api_key_issue",
    "api_key_revoke",
    "api_key_rotate",
    "api_key_update",
    "audit_record",
    "bootstrap_first_start",
    "gateway_user_ensure",
    "idempotency_begin",
    "idempotency_complete",
    "idempotency_purge",
    "idempotency_release",
    "keys_seed",
    "ledger_record",
    "ledger_record_many",
    "tenant_create",
    "tenant_update",
]
