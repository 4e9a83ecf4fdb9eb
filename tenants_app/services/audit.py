"""The only writer of the audit trail. Entries are part of the caller's transaction, so failed acts leave none.

Retention removes old entries, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Q

from core_app.database import write_transaction
from core_app.jsontext import clean, clean_text
from tenants_app.models import AuditEntry

BATCH = 1000

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


def audit_remove(*, tenant_id: int | None, before: datetime, go_on: Callable[[], bool] = lambda: True) -> int:
    """Removes the entries of a tenant, or for None those about the whole gateway, from before a moment. Returns their
    number. It stops before a batch when `go_on` returns false; the next call continues."""
    whose = Q(tenant_id__isnull=True) if tenant_id is None else Q(tenant_id=tenant_id)
    old = AuditEntry.objects.filter(whose, at__lt=before).values_list("pk", flat=True)
    removed = 0
    while go_on() and (keys := list(old[:BATCH])):
        with write_transaction():
            # `delete` of an entry refuses, because no other code may remove one.
            removed += AuditEntry.objects.filter(pk__in=keys)._raw_delete(connection.alias)
    return removed
