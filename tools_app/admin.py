"""Admin sections for tools and tool calls, read-only; open waits are listed first.

`sessions_app` registers `ToolCallAdmin` with its decisions, because a decision may resume a run.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from admin_app.site import SITE
from admin_app.tables import ReadOnlyModelAdmin, TenantFilter
from admin_app.templatetags.gateway_numbers import badge
from core_app import jsontext
from core_app.visible_text import visible_text
from tenants_app.principal import APPROVALS, OPERATOR, SESSIONS_READ
from tools_app.mcp import admin as mcp_admin
from tools_app.models import SessionTool, ToolCall
from tools_app.states import WAITING, CallState

__all__ = ["SessionToolAdmin", "ToolCallAdmin", "mcp_admin", "open_waits"]

_SHOWN_ARGS = 80


class WaitingFilter(admin.SimpleListFilter):
    """Filter for calls that wait for a person or a client. It is on by default, because settled calls are many."""

    title = "waiting for"
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("approval", "an approval"), ("answer", "an answer"), ("all", "nothing or anything")]

    def choices(self, changelist: Any) -> Any:
        everything, *rest = super().choices(changelist)
        return [{**everything, "display": "Somebody"}, *rest]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> QuerySet[ToolCall]:
        if self.value() == "all":
            return queryset
        states = {"approval": [CallState.AWAITING_APPROVAL], "answer": [CallState.AWAITING_ANSWER]}
        return open_waits(queryset).filter(state__in=states.get(self.value() or "", WAITING))


def open_waits(calls: QuerySet[ToolCall]) -> QuerySet[ToolCall]:
    """The calls that wait for a person or a client, in the terms of the index of open calls."""
    return calls.filter(~Q(state=CallState.SETTLED.value), expires_at__isnull=False, state__in=WAITING)


class ToolCallAdmin(ReadOnlyModelAdmin):
    """The list of tool calls; ids sort by time."""

    view_scopes = (OPERATOR, SESSIONS_READ, APPROVALS)
    list_display = ("tool_name", "asked_for", "doing", "tenant", "created_at", "expires_at")
    list_filter = (WaitingFilter, TenantFilter)
    list_select_related = ("tenant",)
    id_search_fields = ("id", "run_id", "approval_id", "ref")
    search_help_text = (
        "A whole id: of the call, its run, approval or question. Choose “nothing or anything” for old ones."
    )

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Orders open waits by expiry, which has an index, and all calls by id."""
        return ("-id",) if request.GET.get("waiting") == "all" else ("expires_at",)

    @admin.display(description="state")
    def doing(self, call: ToolCall) -> SafeString:
        """The state as a badge."""
        return badge(call.state)

    @admin.display(description="arguments or question")
    def asked_for(self, call: ToolCall) -> str:
        """The question or the arguments, shortened."""
        text = call.question or call.decided_args or call.args
        return visible_text(text if len(text) <= _SHOWN_ARGS else f"{text[:_SHOWN_ARGS]}…")


@admin.register(SessionTool, site=SITE)
class SessionToolAdmin(ReadOnlyModelAdmin):
    """The tools that were registered for sessions."""

    view_scopes = (OPERATOR, SESSIONS_READ)
    list_display = ("name", "tenant", "callback_url", "requires_approval", "idempotent", "created_at")
    list_filter = (TenantFilter, "requires_approval")
    list_select_related = ("tenant",)
    ordering = ("-id",)
    search_fields = ("name", "callback_url")
    fields = ("tenant", "name", "description", "schema", "callback_url", "timeout_ms", "requires_approval", "hint")
    readonly_fields = ("schema",)

    @admin.display(description="parameters")
    def schema(self, tool: SessionTool) -> str:
        """The JSON Schema, laid out."""
        return jsontext.indent(tool.parameters)
