"""Queries of the audit trail."""

from __future__ import annotations

from tenants_app.models import AuditEntry


def audit_newest(tenant_id: int, *, action: str | None, limit: int) -> list[AuditEntry]:
    """Returns the tenant's newest entries, the oldest of them first, of one action if one is named."""
    rows = AuditEntry.objects.filter(tenant_id=tenant_id)
    if action is not None:
        rows = rows.filter(action=action)
    return list(rows.order_by("-at", "-pk")[:limit])[::-1]
