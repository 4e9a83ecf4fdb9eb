"""The only writer of the audit trail. Entries are part of the caller's transaction, so failed acts leave none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app.database import write_transaction
from core_app.jsontext import clean, clean_text
from tenants_app.models import AuditEntry

SYSTEM = "system"
"""The actor of the gateway's own acts, at start or in housekeeping."""


def audit_record(
    *, actor: str, action: str, target: str = "", detail: Mapping[str, Any] | None = None, tenant_id: int | None = None
) -> AuditEntry:
    """Records that `actor` did `action` (`noun.verb`) to `target`. Never pass a secret. Long texts are truncated."""
    with write_transaction():
        return AuditEntry.objects.create(
            tenant_id=tenant_id,
            actor=clean_text(actor)[:200],
            action=clean_text(action)[:60],
            target=clean_text(target)[:200],
            detail=clean(dict(detail or {})),
        )
