"""Budgets. One is known by what it limits (tenant, key, model, period), so setting it twice makes one."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import BadRequest, NotFound
from faces.platform.serializers import BudgetPutSerializer
from faces.platform.views.base import PlatformViewSet, tenant_get, tenant_of_body
from faces.platform.wire import budget_pk_of, budget_to_wire
from inference_app.models import Budget
from inference_app.operator.services import budget_set, row_remove
from tenants_app.models import ApiKey, Tenant
from tenants_app.selectors.api_key import api_key_pk


class BudgetViewSet(PlatformViewSet):
    """Budgets of all tenants."""

    def list(self, request: Request) -> Response:
        rows = Budget.objects.select_related("tenant")
        if slug := request.query_params.get("tenant"):
            rows = rows.filter(tenant=tenant_get(slug))
        found, cursor = self.page(rows)
        return Response({"budgets": [budget_to_wire(budget) for budget in found], "nextCursor": cursor})

    def set_budget(self, request: Request) -> Response:
        """Sets the budget of a tenant, key, model and period."""
        data = self.parse_body(BudgetPutSerializer).validated_data
        tenant = tenant_of_body(data["tenant"])
        budget, is_new = budget_set(
            tenant=tenant,
            api_key=_key_of_body(tenant, data.get("key")),
            model=data.get("model") or "",
            period=data["period"],
            tokens=data.get("tokens"),
            usd=data.get("usd"),
            actor=self.actor,
        )
        return Response(budget_to_wire(budget), status=201 if is_new else 200)

    def retrieve(self, request: Request, budget_id: str) -> Response:
        return Response(budget_to_wire(_budget_get(budget_id)))

    def destroy(self, request: Request, budget_id: str) -> Response:
        row_remove(row=_budget_get(budget_id), actor=self.actor)
        return Response(status=204)


def _budget_get(text: str) -> Budget:
    found = Budget.objects.select_related("tenant").filter(pk=budget_pk_of(text)).first()
    if found is None:
        raise NotFound("There is no budget with that id.")
    return found


def _key_of_body(tenant: Tenant, text: Any) -> ApiKey | None:
    if not text:
        return None
    try:
        found = ApiKey.objects.filter(tenant=tenant, pk=api_key_pk(text)).first()
    except NotFound:
        found = None
    if found is None:
        raise BadRequest("The tenant has no key with that id.", field="key")
    return found
