"""Limits of open sessions and waiting runs per tenant, so that no tenant fills the database.

A check reads at most as many entries of a partial index as the limit says. Concurrent requests may exceed a limit by
one each, so these limits are approximate.
"""

from __future__ import annotations

from django.conf import settings
from django.db import connection

from core_app.errors import QuotaExceeded
from tenants_app.models import Tenant

# The conditions repeat those of the partial indexes literally, or SQLite would not use them. The queries look for the
# row at the limit instead of counting.
OPEN_SESSIONS = "SELECT 1 FROM sessions_app_agentsession WHERE closed_at IS NULL AND tenant_id = %s LIMIT 1 OFFSET %s"
WAITING_RUNS = (
    "SELECT 1 FROM sessions_app_run WHERE state = 'waiting' AND resume_at IS NULL AND tenant_id = %s LIMIT 1 OFFSET %s"
)
"""Runs that wait for somebody. An outage of a provider, for which others wait, must not use the limit up."""


def session_limit_check(tenant_id: int) -> None:
    """Raises QuotaExceeded when the tenant has as many open sessions as allowed."""
    limit = _limit(tenant_id, "max_sessions", settings.GATEWAY_MAX_SESSIONS_PER_TENANT)
    if _is_reached(OPEN_SESSIONS, tenant_id, limit):
        raise QuotaExceeded(f"The tenant has {limit} open sessions (GATEWAY_MAX_SESSIONS_PER_TENANT); delete some.")


def waiting_limit_check(tenant_id: int) -> None:
    """Raises QuotaExceeded when the tenant has as many waiting runs as allowed."""
    limit = _limit(tenant_id, "max_waiting", settings.GATEWAY_MAX_WAITING_PER_TENANT)
    if _is_reached(WAITING_RUNS, tenant_id, limit):
        raise QuotaExceeded(f"{limit} runs of the tenant wait for somebody (GATEWAY_MAX_WAITING_PER_TENANT).")


def _limit(tenant_id: int, name: str, default: int) -> int:
    own = Tenant.objects.values_list("settings", flat=True).get(pk=tenant_id).get(name)
    return default if own is None else int(own)


def _is_reached(query: str, tenant_id: int, limit: int) -> bool:
    if limit <= 0:
        return False
    with connection.cursor() as cursor:
        cursor.execute(query, [tenant_id, limit - 1])
        return cursor.fetchone() is not None
