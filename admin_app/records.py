"""Admin sections for the ledger and the audit trail, read-only, and the newest audit entries on the front page.

Both tables only grow, so lists use the existing indexes, and search is by complete id where possible.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from admin_app.access import may, tenant_of
from admin_app.site import SITE, Table
from admin_app.tables import ReadOnlyModelAdmin, TenantFilter
from tenants_app.models import AuditEntry, LedgerEntry
from tenants_app.numbers import dollars
from tenants_app.principal import ADMIN, OPERATOR

_PANEL_ROWS = 8


@admin.register(LedgerEntry, site=SITE)
class LedgerAdmin(ReadOnlyModelAdmin):
    """The list of ledger entries."""

    view_scopes = (OPERATOR,)
    list_display = (
        "created_at",
        "tenant",
        "api_key",
        "model",
        "input_tokens",
        "output_tokens",
        "costs",
        "kind",
        "run_id",
    )
    list_filter = (TenantFilter,)
    list_select_related = ("tenant", "api_key")
    id_search_fields = ("run_id", "session_ref")
    search_help_text = "A whole run id or session id."

    @admin.display(description="cost")
    def costs(self, entry: LedgerEntry) -> str:
        """The cost in dollars, `?` for an unknown price."""
        return "?" if entry.cost_usd is None else dollars(float(entry.cost_usd))

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return newest_first(request, "created_at")


class AuditActionFilter(admin.SimpleListFilter):
    """Filter for entries about one kind of object."""

    title = "about"
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("admin.login", "sign-ins"),
            ("api_key.", "keys"),
            ("device.", "devices"),
            ("connection_token.", "connection tokens"),
            ("approval.", "approvals"),
            ("user.", "users"),
            ("tenant.", "tenants"),
            ("session.", "sessions"),
            ("run.", "runs"),
            ("webhook.", "webhooks"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        about = self.value()
        return queryset.filter(action__startswith=about) if about else queryset


@admin.register(AuditEntry, site=SITE)
class AuditAdmin(ReadOnlyModelAdmin):
    """The list of audit entries."""

    view_scopes = (ADMIN,)
    list_display = ("at", "tenant", "actor", "action", "target")
    list_filter = (TenantFilter, AuditActionFilter)
    list_select_related = ("tenant",)
    search_fields = ("actor", "action", "target")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return newest_first(request, "at")


def audit_panel(request: HttpRequest) -> list[Table]:
    """The newest audit entries, for the front page."""
    if not may(request, ADMIN):
        return []
    tenant = tenant_of(request)
    entries = AuditEntry.objects.select_related("tenant")
    entries = entries if tenant is None else entries.filter(tenant=tenant)
    rows = [
        (
            reverse("admin:tenants_app_auditentry_change", args=[entry.pk]),
            (f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.actor, entry.action, entry.target, str(entry.tenant or "")),
        )
        for entry in entries.order_by(*newest_first(request, "at"))[:_PANEL_ROWS]
    ]
    heads = ("At (UTC)", "Who", "Did", "To", "Tenant")
    return [Table("Latest in the audit trail", reverse("admin:tenants_app_auditentry_changelist"), heads, rows)]


SITE.panel_add(audit_panel)


def newest_first(request: HttpRequest, moment: str) -> tuple[str, ...]:
    """The descending order that has an index: by time for one tenant's rows, by id for all."""
    one_tenant = tenant_of(request) is not None or "tenant" in request.GET
    return (f"-{moment}",) if one_tenant else ("-id",)
