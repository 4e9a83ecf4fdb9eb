"""The REST endpoints of the platform face, all under `/v1/platform`."""

from __future__ import annotations

from django.urls import path

from edge_app.rest.routers import GatewayRouter
from faces.platform.views.audit import AuditViewSet
from faces.platform.views.budgets import BudgetViewSet
from faces.platform.views.keys import KeyViewSet
from faces.platform.views.prices import PriceViewSet
from faces.platform.views.providers import ProviderViewSet
from faces.platform.views.tenants import TenantViewSet
from faces.platform.views.users import UserViewSet

ROUTER = GatewayRouter()
ROUTER.register("v1/platform/tenants", TenantViewSet, "platform-tenant")
ROUTER.register("v1/platform/tenants/<str:tenant>/keys", KeyViewSet, "platform-key")
ROUTER.register("v1/platform/users", UserViewSet, "platform-user")
ROUTER.register("v1/platform/providers", ProviderViewSet, "platform-provider")

urlpatterns = [
    *ROUTER.urls,
    path("v1/platform/prices", PriceViewSet.as_view({"get": "list"})),
    # Names of models may contain slashes.
    path(
        "v1/platform/prices/<str:provider>/<path:model>",
        PriceViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}),
    ),
    path("v1/platform/budgets", BudgetViewSet.as_view({"get": "list", "put": "set_budget"})),
    path("v1/platform/budgets/<str:budget_id>", BudgetViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path("v1/platform/audit", AuditViewSet.as_view({"get": "list"})),
]
