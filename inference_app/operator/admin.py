"""Admin pages of the operator's settings, for superusers alone, because they apply to all tenants.

Every change goes through `inference_app.operator.services`. A provider's key can be set and is never shown.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from admin_app.access import actor_of, user_of
from admin_app.site import SITE, Page, Section
from admin_app.tables import TenantModelAdmin
from inference_app.models import Alias, Budget, Price, Provider, Route, TenantModels
from inference_app.operator.admin_relayed import relayed_page
from inference_app.operator.services import provider_save, row_remove, row_save

_HELP = {
    "entry": "As in the file, without the name: base_url, wire, models, headers, timeout, … "
    'For example {"base_url": "http://127.0.0.1:8000/v1"}. What it leaves out stays as the file or the gateway has it.',
    "enabled": "Off: nothing is sent there.",
    "prefix": "How the models' names begin. The longest that fits wins.",
    "providers": 'Who serves them, in the order in which they are tried: ["openai", "openrouter"].',
    "alias.name": "What clients name it.",
    "provider.name": "The part before the colon in provider:model.",
    "input": "US dollars for a million tokens.",
    "output": "US dollars for a million tokens.",
    "cached": "US dollars for a million tokens that were read from the provider's cache. Empty: as input.",
    "cache_write": "US dollars for a million tokens that it wrote to its cache. Empty: 1.25 times the input.",
    "cache_write_hour": "The same, for tokens that it keeps for an hour. Empty: 2 times the input.",
    "substitution": "Whether the fallback chain serves unknown models. Unknown: no.",
    "api_key": "One of the tenant's keys. Empty: all of them together.",
    "period": "Minutes, days and months of UTC.",
    "tokens": "In and out together. Past it calls are answered 402 (429 where it is a minute's). Empty: not limited.",
    "usd": "US dollars, of models whose price is known. Empty: not limited. One of the two is needed.",
}
_LABELS = {"api_key": "API key", "usd": "US dollars"}


class OperatorSettingAdmin(TenantModelAdmin):
    """The base of the pages: superusers have all permissions, others none."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            known = _HELP.get(f"{self.opts.model_name}.{db_field.name}") or _HELP.get(db_field.name)
            field.help_text = known or field.help_text
            field.label = _LABELS.get(db_field.name, field.label)
            if isinstance(field, forms.JSONField) and field.initial is None:
                field.initial = list
        return field

    def filter_tenant(self, queryset: QuerySet[Any], tenant: Any) -> QuerySet[Any]:
        return queryset.none()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user = user_of(request)
        return user is not None and user.is_active and user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        row_save(row=obj, actor=actor_of(request))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        row_remove(row=obj, actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            row_remove(row=row, actor=actor_of(request))


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of a provider, with a field to set its key."""

    key = forms.CharField(
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted and never shown. Empty leaves it as it is.",
    )
    forget_key = forms.BooleanField(required=False, help_text="Takes the stored key away.")

    class Meta:
        model = Provider
        fields = ("name", "entry", "enabled")

    def clean_entry(self) -> dict[str, Any]:
        given = self.cleaned_data["entry"] or {}
        if not isinstance(given, dict):
            raise forms.ValidationError("The entry is a JSON object.")
        return given


@admin.register(Provider, site=SITE)
class ProviderAdmin(OperatorSettingAdmin):
    """Providers, which take precedence over those of the file."""

    form = ProviderForm
    list_display = ("name", "enabled", "has_key", "updated_at")

    @admin.display(boolean=True, description="key")
    def has_key(self, provider: Provider) -> bool:
        """True if a key is stored."""
        return bool(provider.sealed_key)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        key = "" if form.cleaned_data["forget_key"] else form.cleaned_data["key"] or None
        provider_save(provider=obj, actor=actor_of(request), key=key)


@admin.register(Route, site=SITE)
class RouteAdmin(OperatorSettingAdmin):
    """Routes by the prefix of a model name."""

    list_display = ("prefix", "providers", "updated_at")


@admin.register(Alias, site=SITE)
class AliasAdmin(OperatorSettingAdmin):
    """Aliases of models."""

    list_display = ("name", "targets", "updated_at")


@admin.register(Price, site=SITE)
class PriceAdmin(OperatorSettingAdmin):
    """Prices, which take precedence over the public price list."""

    list_display = ("provider", "model", "input", "output", "cached")


@admin.register(TenantModels, site=SITE)
class TenantModelsAdmin(OperatorSettingAdmin):
    """The models that tenants may use."""

    list_display = ("tenant", "patterns", "substitution")
    list_select_related = ("tenant",)


@admin.register(Budget, site=SITE)
class BudgetAdmin(OperatorSettingAdmin):
    """Budgets of tenants, keys and models."""

    list_display = ("tenant", "api_key", "model", "period", "tokens", "usd")
    list_select_related = ("tenant", "api_key")
    list_filter = ("period",)


SITE.page_add(Page(route="relayed", name="Relayed", key="Relayed", view=relayed_page))
SITE.section_add(
    Section(
        "Models",
        rank=3,
        entries=dict.fromkeys(("Relayed", "Provider", "Route", "Alias", "Price", "TenantModels", "Budget")),
    )
)
