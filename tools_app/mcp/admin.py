"""Admin sections for MCP servers: those that tenants registered, and what was last seen of all.

A tenant's staff with the scope `admin` register, change, test and remove their tenant's servers. Secrets are typed in
and never shown. A test holds no request thread: what it finds is under “Last seen”. The authorization of a server with
OAuth is begun here or through the API (docs/mcp.md), and ends in the browser of whoever consents.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from admin_app.access import principal_in, tenant_of
from admin_app.site import SITE, Section
from admin_app.tables import Confirmation, ReadOnlyModelAdmin, TenantFilter, TenantModelAdmin
from admin_app.templatetags.gateway_numbers import badge
from core_app import jsontext
from core_app.errors import BadRequest, GatewayError
from core_app.visible_text import visible_text
from tenants_app.models import Tenant
from tenants_app.principal import ADMIN, OPERATOR, SESSIONS_READ
from tools_app.mcp.connecting import server_connect_now, server_test_later
from tools_app.mcp.models import McpServer, McpServerState
from tools_app.mcp.services import AUTH, grant_forget, server_change, server_create, server_delete

_SHOWN = 200


class McpServerForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of a server. Secrets that are left empty stay as they are."""

    auth = forms.ChoiceField(choices=[(name, name) for name in AUTH])
    headers = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off"}),
        help_text='Of auth header, as JSON: {"Authorization": "Bearer …"}. Never shown again.',
    )
    client_secret = forms.CharField(
        required=False, widget=forms.PasswordInput(attrs={"autocomplete": "off"}), help_text="Of auth oauth."
    )

    class Meta:
        model = McpServer
        fields = ("tenant", "name", "url", "description", "scope", "client_id", "approval", "timeout_ms", "enabled")
        widgets = {"url": forms.TextInput(attrs={"size": 80})}
        help_texts = {
            "name": "Sessions and agents name it mcp:NAME.",
            "scope": "Of auth oauth. Empty: what the server asks for.",
            "client_id": "Of auth oauth. Empty: the gateway registers itself.",
            "approval": "Every call waits for a person's approval.",
        }

    def clean_headers(self) -> dict[str, Any] | None:
        """Parses the headers."""
        text = self.cleaned_data["headers"].strip()
        if not text:
            return None
        try:
            found = jsontext.decode_untrusted(text.encode("utf-8", "replace"))
        except BadRequest:
            found = None
        if not isinstance(found, dict):
            raise forms.ValidationError("A JSON object of headers.")
        return found


@admin.register(McpServer, site=SITE)
class McpServerAdmin(TenantModelAdmin):
    """The list of tenants' servers."""

    form = McpServerForm
    change_scopes = (ADMIN,)
    list_display = ("name", "tenant", "url", "auth", "has_grant", "enabled", "updated_at")
    list_filter = (TenantFilter, "auth", "enabled")
    list_select_related = ("tenant",)
    ordering = ("name",)
    actions = ("test", "connect", "disconnect", "remove")

    @admin.display(boolean=True, description="authorized")
    def has_grant(self, row: McpServer) -> bool | None:
        """True for a server with OAuth that is authorized; None without OAuth."""
        return bool(row.sealed_grant) if row.auth == "oauth" else None

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (
            *("tenant", "name", "url", "description", "auth", "headers", "scope", "client_id", "client_secret"),
            *("approval", "timeout_ms", "enabled"),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else ("tenant", "name")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        tenant = tenant_of(request)
        if db_field.name == "tenant" and tenant is not None:
            kwargs |= {"queryset": Tenant.objects.filter(pk=tenant.pk), "initial": tenant.pk}
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: McpServer, form: Any, change: bool) -> None:
        data = form.cleaned_data
        given = {name: data[name] for name in ("url", "description", "auth", "enabled", "timeout_ms")}
        given["requires_approval"] = data["approval"]
        if data["auth"] == "oauth":
            given |= {name: data[name] for name in ("scope", "client_id") if name in form.changed_data or not change}
        given |= {name: data[name] for name in ("headers", "client_secret") if data[name]}
        principal = principal_in(request, obj.tenant)
        if change:
            server_change(principal=principal, name=obj.name, changes=given)
        else:
            obj.pk = server_create(principal=principal, name=obj.name, **given).pk

    @admin.action(description="Test: connect and list the tools", permissions=["change"])
    def test(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> HttpResponse | None:
        def one(row: McpServer, text: str) -> str:
            server_test_later(row)
            return f"{row.name} is being tested; what is found is under “Last seen”."

        message = "The gateway connects to these servers and lists their tools:"
        return self.confirm_action(request, queryset, Confirmation("test", "Test", message, "Yes, test"), one)

    @admin.action(description="Authorize: open the server's sign-in", permissions=["change"])
    def connect(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            messages.error(request, "Authorize one server at a time.")
            return None
        (row,) = chosen
        try:
            begun = server_connect_now(principal_in(request, row.tenant), row.name)
        except GatewayError as error:
            messages.error(request, f"{row.name}: {error.message}")
            return None
        shown = {
            **self.admin_site.each_context(request),
            "title": f"Authorize {row.name}",
            "opts": self.opts,
            "server": row,
            "address": begun["authorizationUrl"],
            "host": urlsplit(begun["authorizationUrl"]).hostname,
        }
        return TemplateResponse(request, "admin/tools_app/authorize.html", shown)

    @admin.action(description="Forget the authorization", permissions=["change"])
    def disconnect(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> HttpResponse | None:
        def one(row: McpServer, text: str) -> str:
            grant_forget(principal=principal_in(request, row.tenant), name=row.name)
            return f"{row.name} is not authorized any more."

        message = "The gateway forgets the OAuth authorizations of these servers:"
        return self.confirm_action(request, queryset, Confirmation("disconnect", "Disconnect", message, "Yes"), one)

    @admin.action(description="Delete", permissions=["change"])
    def remove(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> HttpResponse | None:
        def one(row: McpServer, text: str) -> str:
            server_delete(principal=principal_in(request, row.tenant), name=row.name)
            return f"{row.name} is deleted."

        message = "These servers are deleted with their secrets; sessions that name them go on without their tools:"
        return self.confirm_action(request, queryset, Confirmation("remove", "Delete", message, "Yes, delete"), one)


@admin.register(McpServerState, site=SITE)
class McpServerStateAdmin(ReadOnlyModelAdmin):
    """The list of states at the last use, of the servers of operators and tenants."""

    view_scopes = (ADMIN, OPERATOR, SESSIONS_READ)
    list_display = ("name", "tenant", "badge", "shown_reason", "tools", "unusable", "protocol", "changed_at")
    list_filter = (TenantFilter, "state")
    list_select_related = ("tenant",)
    ordering = ("name",)
    fields = ("name", "tenant", "state", "reason", "protocol", "tools", "left_out_tools", "changed_at")
    readonly_fields = ("left_out_tools",)

    @admin.display(description="state")
    def badge(self, row: McpServerState) -> SafeString:
        """The state as a badge."""
        return badge(row.state)

    @admin.display(description="reason")
    def shown_reason(self, row: McpServerState) -> str:
        """The reason, shortened."""
        return visible_text(row.reason[:_SHOWN])

    @admin.display(description="unusable tools")
    def unusable(self, row: McpServerState) -> int:
        """The number of tools that cannot be used."""
        return len(row.left_out)

    @admin.display(description="unusable tools")
    def left_out_tools(self, row: McpServerState) -> str:
        """The tools that cannot be used, with their reasons."""
        return "\n".join(visible_text(f"{each['tool']}: {each['reason']}") for each in row.left_out)


SITE.section_add(Section("Tool servers", rank=4, entries={"McpServer": "MCP servers", "McpServerState": "Last seen"}))
