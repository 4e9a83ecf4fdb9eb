"""Admin pages of the operator's settings, for superusers alone, because they apply to all tenants.

Every change goes through `inference_app.operator.services`. A provider's key can be set and is never shown.
"""

from __future__ import annotations

from django.contrib import admin

from admin_app.site import SITE, Page, Section
from inference_app.models import Alias, Budget, Price, Route, TenantModels
from inference_app.operator import admin_providers
from inference_app.operator.admin_base import OperatorSettingAdmin
from inference_app.operator.admin_relayed import relayed_page

__all__ = ["admin_providers"]


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
