"""Admin section for agents: those that were registered, and what is known of the state of all.

Superusers add agents for all tenants or one, also programs, and change and remove any. Tenants' staff with the scope
`agents:read` look at their own. Every change goes through `agents_app.directory.services`.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from admin_app.access import actor_of, user_of
from admin_app.site import SITE, Section
from admin_app.tables import ReadOnlyModelAdmin, TenantModelAdmin
from admin_app.templatetags.gateway_numbers import badge
from agents_app.directory.services import agent_remove, agent_save
from agents_app.models import Agent, AgentState
from tenants_app.principal import AGENTS_READ, AGENTS_WRITE, OPERATOR

FIELDS = ("name", "type", "capabilities", "endpoint", "model", "system_prompt", "tools", "timeout", "entry", "enabled")
_HELP = {
    "tenant": "Empty: an agent of all tenants.",
    "public_id": "What clients name it. It cannot be changed.",
    "type": "model, http, remote, acp, process, claude-code or openclaw.",
    "entry": 'The fields of a program: {"command": "opencode", "args": ["acp"], "env": {}, "pass_env": []}.',
    "capabilities": 'A list: ["code-review"].',
    "tools": 'Built-in tools of an agent of type model: ["current_time"].',
    "timeout": "Seconds. Empty: the gateway's settings.",
    "model": "Of an agent of type model. Empty: the default model.",
}


class AgentForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of an agent. Empty lists and objects are what they look like."""

    class Meta:
        model = Agent
        fields = ("tenant", "public_id", *FIELDS)
        help_texts = _HELP

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        for name, empty in (("capabilities", []), ("tools", []), ("entry", {})):
            value = given.get(name)
            given[name] = empty if value is None else value
            if not isinstance(given[name], type(empty)):
                self.add_error(name, "A JSON object." if name == "entry" else "A JSON list.")
        return given


@admin.register(Agent, site=SITE)
class AgentAdmin(TenantModelAdmin):
    """Agents that were registered. Those of the configuration file are in the file."""

    form = AgentForm
    view_scopes = (AGENTS_READ, AGENTS_WRITE, OPERATOR)
    list_display = ("public_id", "name", "type", "tenant", "enabled", "trusted", "updated_at")
    list_filter = ("type", "enabled")
    list_select_related = ("tenant",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user = user_of(request)
        return user is not None and user.is_active and user.is_superuser

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        # The environment of a program may hold a key of the operator's.
        shown = ("tenant", "public_id", *FIELDS)
        return [name for name in shown if name != "entry" or self.has_change_permission(request)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "public_id") if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in FIELDS}
        agent_save(obj, values, actor=actor_of(request), operator=True)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        agent_remove(obj, actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            agent_remove(row, actor=actor_of(request))


@admin.register(AgentState, site=SITE)
class AgentStateAdmin(ReadOnlyModelAdmin):
    """The findings of checks and heartbeats about each agent, also about those in the configuration file."""

    view_scopes = (AGENTS_READ, AGENTS_WRITE, OPERATOR)
    list_display = ("agent_id", "tenant", "status", "result", "checked_at", "heartbeat_at", "running")
    list_select_related = ("tenant",)
    ordering = ("agent_id",)

    def filter_tenant(self, queryset: QuerySet[Any], tenant: Any) -> QuerySet[Any]:
        return queryset.filter(Q(tenant=tenant))

    @admin.display(description="status")
    def status(self, state: AgentState) -> SafeString:
        """The status that listeners were told last, as a badge."""
        return badge(state.announced or "offline")


SITE.section_add(Section("Agents", rank=3, entries={"Agent": None, "AgentState": "State of agents"}))
