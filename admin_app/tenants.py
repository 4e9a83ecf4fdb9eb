"""Admin sections for tenants, API keys and users; those for ledger and audit trail are in `admin_app.records`.

Changes go through the services. A key's secret is shown once, on the page that confirms its creation. Permissions
are in `admin_app.tables`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from admin_app.access import actor_of, principal_in, tenant_of
from admin_app.site import SITE, Page, Section
from admin_app.tables import Confirmation, TenantFilter, TenantModelAdmin
from admin_app.usage import usage_page
from core_app import clock
from core_app.database import write_transaction
from core_app.errors import GatewayError
from tenants_app.models import ApiKey, Tenant, User
from tenants_app.principal import ADMIN, SCOPES
from tenants_app.services import (
    IssuedKey,
    api_key_issue,
    api_key_revoke,
    api_key_rotate,
    api_key_update,
    audit_record,
    tenant_create,
    tenant_update,
)
from tenants_app.services.key_cache_invalidate import keys_forget
from tenants_app.services.tenant import SETTINGS, settings_check

_KNOWN_SETTINGS = ", ".join(f"{name} ({kind.__name__})" for name, kind in SETTINGS.items())


_SCOPE_HELP = {
    "sessions": "make, prompt and read sessions",
    "sessions:read": "read sessions and follow them; “sessions” includes it",
    "questions": "answer what agents ask; “sessions” includes it",
    "approvals": "decide on tool calls that wait for it (where the tenant says so, “sessions” includes it)",
    "inference": "call models: Chat, Responses, Messages, Embeddings",
    "tasks": "hand over tasks",
    "tasks:read": "read tasks and spaces and follow them; “tasks” includes it",
    "agents:read": "list the agents",
    "agents:write": "change the agents",
    "usage:read": "see what was used; “operator” includes it",
    "webhooks": "handle webhooks; “admin” includes it",
    "operator": "see what runs and what was used in the tenant, and end it",
    "admin": "handle keys and webhooks, erase sessions, read the audit trail",
    "platform": "see the state of the whole gateway: providers, metrics",
}
"""Descriptions of the scopes, shown at their check boxes."""


def scope_choices(scopes: Iterable[str]) -> list[tuple[str, str]]:
    """Choices for check boxes, each with its description."""
    return [(scope, f"{scope}: {_SCOPE_HELP[scope]}") for scope in scopes]


class ScopesField(forms.MultipleChoiceField):
    """Scopes as check boxes. An object belongs to one request, because its choices depend on who asks."""

    def __init__(self, scopes: Iterable[str]) -> None:
        super().__init__(choices=scope_choices(scopes), widget=forms.CheckboxSelectMultiple, required=False)


class TenantForm(forms.ModelForm):  # type: ignore[type-arg]
    """Form of a tenant. The box `disabled` sets or clears the time stamp `disabled_at`."""

    disabled = forms.BooleanField(required=False, help_text="None of its keys works while this is on.")

    class Meta:
        model = Tenant
        fields = ("slug", "name", "settings")
        help_texts = {"settings": f"A JSON object. This version reads {_KNOWN_SETTINGS}: docs/configuration.md."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["disabled"].initial = self.instance.disabled_at is not None

    def clean_settings(self) -> dict[str, Any]:
        given = self.cleaned_data["settings"] or {}
        if not isinstance(given, dict):
            raise forms.ValidationError("The settings are a JSON object.")
        try:
            settings_check(given, tenant_id=self.instance.pk, slug=self.instance.slug or self.data.get("slug", ""))
        except GatewayError as error:
            raise forms.ValidationError(error.message) from None
        return given


@admin.register(Tenant, site=SITE)
class TenantAdmin(TenantModelAdmin):
    """The list of tenants. Superusers create and change them; a tenant's staff see their own."""

    form = TenantForm
    view_scopes = SCOPES
    list_display = ("slug", "name", "works", "links", "created_at")
    search_fields = ("slug", "name")

    def filter_tenant(self, queryset: QuerySet[Any], tenant: Tenant) -> QuerySet[Any]:
        return queryset.filter(pk=tenant.pk)

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        return () if obj is None else ("slug",)

    @admin.display(boolean=True)
    def works(self, tenant: Tenant) -> bool:
        """True when its keys are accepted."""
        return tenant.disabled_at is None

    @admin.display(description="")
    def links(self, tenant: Tenant) -> SafeString:
        """Links to the tenant's keys and usage."""
        keys, usage = reverse("admin:tenants_app_apikey_changelist"), reverse("admin:usage")
        shown = '<a href="{}?tenant={}">Keys</a> · <a href="{}?tenant={}">Usage</a>'
        return format_html(shown, keys, tenant.pk, usage, tenant.pk)

    def save_model(self, request: HttpRequest, obj: Tenant, form: forms.ModelForm[Tenant], change: bool) -> None:
        values = {"name": obj.name, "settings": obj.settings, "actor": actor_of(request)}
        if not change:
            obj.pk = tenant_create(slug=obj.slug, **values).pk
        if change or form.cleaned_data["disabled"]:
            tenant_update(tenant=obj, disabled=form.cleaned_data["disabled"], **values)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """Form of an API key, without its secret, which the service creates."""

    class Meta:
        model = ApiKey
        fields = ("tenant", "name", "scopes", "rpm", "expires_at")
        help_texts = {
            "rpm": "Requests per minute. Empty: GATEWAY_RATE_LIMIT_RPM. 0: no limit. Only an operator raises it.",
            "expires_at": "UTC. Empty: never.",
        }

    def clean_expires_at(self) -> Any:
        given = self.cleaned_data["expires_at"]
        if given is not None and self.instance.pk is None and given <= clock.now():
            raise forms.ValidationError("The key would have expired already.")
        return given


class KeyStateFilter(admin.SimpleListFilter):
    """Filter for keys by state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("good", "good"), ("revoked", "revoked"), ("expired", "expired"), ("seeded", "of GATEWAY_API_KEYS")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        now = clock.now()
        wanted = {
            "good": Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=now)),
            "revoked": Q(revoked_at__isnull=False),
            "expired": Q(revoked_at=None, expires_at__lte=now),
            "seeded": Q(seeded=True),
        }
        return queryset.filter(wanted.get(self.value() or "", Q()))


@admin.register(ApiKey, site=SITE)
class ApiKeyAdmin(TenantModelAdmin):
    """The list of API keys. Nobody grants scopes that they lack, or changes a key that has more scopes than they."""

    form = ApiKeyForm
    change_scopes = (ADMIN,)
    list_display = ("name", "prefix", "tenant", "good", "may_do", "expires_at", "last_used_at", "usage")
    list_filter = (KeyStateFilter, TenantFilter)
    list_select_related = ("tenant",)
    search_fields = ("name", "prefix", "tenant__slug")
    actions = ("rotate", "revoke")

    @admin.display(boolean=True)
    def good(self, key: ApiKey) -> bool:
        """True when the key is neither revoked nor expired."""
        return key.is_good(clock.now())

    @admin.display(description="scopes")
    def may_do(self, key: ApiKey) -> str:
        """The scopes on one line."""
        return "all" if set(key.scopes) == set(SCOPES) else ", ".join(key.scopes) or "none"

    @admin.display(description="")
    def usage(self, key: ApiKey) -> SafeString:
        """Link to the key's usage."""
        return format_html('<a href="{}?key={}">Usage</a>', reverse("admin:usage"), key.pk)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_change_permission(request, obj) and (
            not isinstance(obj, ApiKey) or set(obj.scopes) <= grantable(request)
        )

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return () if obj is None else ("tenant", "prefix", "seeded", "created_at", "revoked_at", "last_used_at")

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        shown = ("tenant", "name", "scopes", "rpm", "expires_at")
        return shown if obj is None else (*shown, "prefix", "seeded", "created_at", "revoked_at", "last_used_at")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "scopes":
            return ScopesField(scope for scope in SCOPES if scope in grantable(request))
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        tenant = tenant_of(request)
        if db_field.name == "tenant" and tenant is not None:
            kwargs |= {"queryset": Tenant.objects.filter(pk=tenant.pk), "initial": tenant.pk}
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        # The page after saving shows the secret, so there are no other buttons.
        only_save = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**only_save, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm[ApiKey], change: bool) -> None:
        values: dict[str, Any] = {name: form.cleaned_data[name] for name in ("name", "scopes", "rpm", "expires_at")}
        values["by"] = principal_in(request, obj.tenant)
        if change:
            api_key_update(key=obj, **values)
            return
        issued = api_key_issue(tenant=obj.tenant, **values)
        obj.pk = issued.key.pk
        request.issued_key = issued  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self._secret_page(request, [request.issued_key])  # type: ignore[attr-defined]

    @admin.action(description="Rotate: a new secret, the old one stops at once", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        issued: list[IssuedKey] = []

        def one(key: ApiKey, text: str) -> str:
            issued.append(api_key_rotate(key=key, by=principal_in(request, key.tenant)))
            return f"{key.name} has a new secret."

        message = "These keys get a new secret, and their old one stops at once:"
        response = self.confirm_action(
            request, queryset, Confirmation("rotate", "Rotate keys", message, "Yes, rotate"), one
        )
        return self._secret_page(request, issued) if issued else response

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        def one(key: ApiKey, text: str) -> str:
            api_key_revoke(key=key, by=principal_in(request, key.tenant))
            return f"{key.name} is revoked."

        message = "These keys stop working and cannot be brought back:"
        return self.confirm_action(
            request, queryset, Confirmation("revoke", "Revoke keys", message, "Yes, revoke"), one
        )

    def _secret_page(self, request: HttpRequest, issued: list[IssuedKey]) -> HttpResponse:
        """Renders the page that shows secrets. A message would put them into a cookie. Admin pages are not cached."""
        context = {**SITE.each_context(request), "title": "Copy it now", "opts": self.opts, "issued": issued}
        return TemplateResponse(request, "admin/tenants_app/key_shown.html", context)


def grantable(request: HttpRequest) -> set[str]:
    """The scopes that the signed-in person may grant."""
    tenant = tenant_of(request)
    return set(SCOPES) if tenant is None else set(principal_in(request, tenant).held)


class UserRole(forms.ModelForm):  # type: ignore[type-arg]
    """Form that rejects users who could sign in and would see nothing."""

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if given.get("is_superuser") and not given.get("is_staff"):
            self.add_error("is_staff", "A superuser needs it to sign in here.")
        if given.get("is_staff") and not given.get("is_superuser") and not given.get("tenant"):
            self.add_error("tenant", "Who is staff and no superuser needs a tenant.")
        return given


class UserForm(UserRole, UserChangeForm):  # type: ignore[type-arg]
    """Form of an existing user."""


class NewUserForm(UserRole, AdminUserCreationForm):  # type: ignore[type-arg]
    """Form of a new user."""


@admin.register(User, site=SITE)
class GatewayUserAdmin(TenantModelAdmin, UserAdmin):  # type: ignore[type-arg]
    """The list of users. Superusers change them; a tenant's administrators see their own."""

    view_scopes = (ADMIN,)
    list_display = ("username", "tenant", "role", "is_active", "last_login")
    list_filter = (TenantFilter, "is_active", "is_superuser")
    list_select_related = ("tenant",)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Role", {"fields": ("is_active", "is_superuser", "is_staff", "tenant", "scopes")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets: Any = (
        (None, {"classes": ("wide",), "fields": ("username", "usable_password", "password1", "password2")}),
        ("Role", {"fields": ("is_superuser", "is_staff", "tenant", "scopes")}),
    )
    filter_horizontal: ClassVar[tuple[str, ...]] = ()
    readonly_fields = ("last_login", "date_joined")
    form = UserForm
    add_form = NewUserForm

    @admin.display(description="role")
    def role(self, user: User) -> str:
        """The role in one word."""
        if user.is_superuser:
            return "superuser"
        return "staff" if user.is_staff else "console"

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_change_permission(request, obj) and (obj is None or obj.pk != request.user.pk)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        return shown if self.has_change_permission(request, obj) else ((None, {"fields": ("username",)}), *shown[1:])

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = (
            ScopesField(SCOPES)
            if db_field.name == "scopes"
            else super().formfield_for_dbfield(db_field, request, **kwargs)
        )
        if field is not None and db_field.name in _ROLE_HELP:
            field.help_text = _ROLE_HELP[db_field.name]
        return field

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        role = {"superuser": obj.is_superuser, "staff": obj.is_staff, "active": obj.is_active, "scopes": obj.scopes}
        self._audit(request, obj, "user.update" if change else "user.create", role)
        keys_forget()

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        with write_transaction():
            response: HttpResponse = super().user_change_password(request, id, form_url)
            if request.method == "POST" and response.status_code == 302:
                user = User.objects.get(pk=id)
                self._audit(request, user, "user.password", {"usable": user.has_usable_password()})
        return response

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        with write_transaction():
            self._audit(request, obj, "user.delete", {})
            super().delete_model(request, obj)
            keys_forget()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            if self.has_delete_permission(request, user):
                self.delete_model(request, user)

    def _audit(self, request: HttpRequest, user: User, action: str, detail: dict[str, Any]) -> None:
        actor = actor_of(request)
        audit_record(actor=actor, action=action, target=user.username, tenant_id=user.tenant_id, detail=detail)


_ROLE_HELP = {
    "is_active": "Off: this person cannot sign in.",
    "is_superuser": "Runs the gateway: sees every tenant and may do everything.",
    "is_staff": "May sign in to this admin; without being a superuser, to what the scopes allow in the tenant.",
    "tenant": "Whose rows a person who is no superuser sees.",
    "scopes": "What the person may do there: the same scopes as an API key's.",
}


SITE.page_add(Page(route="usage", name="Usage", key="Usage", view=usage_page))
SITE.section_add(Section("Spending", rank=2, entries={"Usage": None, "LedgerEntry": None}))
SITE.section_add(
    Section(
        "Access",
        rank=4,
        entries=dict.fromkeys(("Tenant", "ApiKey", "User", "Membership", "Device", "ConnectionToken")),
    )
)
SITE.section_add(Section("Record", rank=6, entries={"AuditEntry": "Audit trail"}))
