"""Operations of the platform face in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.views import APIView

from edge_app.openapi import FaceDocument, Operation, Resolve, Schema, parameter
from edge_app.rest.paging import MAX_LIMIT
from faces.platform import serializers as bodies
from faces.platform.openapi import shapes
from faces.platform.provider_test import ProviderTestSerializer
from faces.platform.views.audit import AuditViewSet
from faces.platform.views.budgets import BudgetViewSet
from faces.platform.views.keys import KeyViewSet
from faces.platform.views.prices import PriceViewSet
from faces.platform.views.providers import ProviderViewSet
from faces.platform.views.tenants import ERASE_SECONDS, TenantViewSet
from faces.platform.views.users import UserViewSet
from tenants_app.selectors.api_key import KEY_STATES

TAG = "Platform"
PUT = (400, 415)
"""Errors of a PUT with a body, beside those of every operation."""

_PAGE = (
    parameter("limit", {"type": "integer", "minimum": 0, "default": 50}, f"At most {MAX_LIMIT}."),
    parameter("cursor", {"type": "string", "pattern": "^[0-9]{0,18}$"}, "`nextCursor` of the previous page."),
)


def _filter(name: str, description: str, *choices: str) -> OpenApiParameter:
    return parameter(name, {"type": "string", **({"enum": list(choices)} if choices else {})}, description)


_OF_TENANT = _filter("tenant", "Those of this tenant, by its slug.")

OPERATIONS: Mapping[tuple[type[APIView], str], Operation] = {
    (TenantViewSet, "list"): Operation(
        id="listTenants",
        tag=TAG,
        summary="List the tenants",
        query=_PAGE,
        responses={200: shapes.PlatformTenantPageSerializer},
    ),
    (TenantViewSet, "create"): Operation(
        id="createTenant",
        tag=TAG,
        summary="Create a tenant",
        description="409 `conflict` with `field: slug` where the slug is taken: PUT replaces a tenant.",
        request=bodies.TenantCreateSerializer,
        example={"slug": "acme", "name": "Acme & Sons", "settings": {"rpm": 300, "default_model": "demo:tour"}},
        responses={201: shapes.PlatformTenantSerializer},
        errors=(409,),
        located=True,
    ),
    (TenantViewSet, "retrieve"): Operation(
        id="getTenant", tag=TAG, summary="Get a tenant", responses={200: shapes.PlatformTenantSerializer}
    ),
    (TenantViewSet, "update"): Operation(
        id="putTenant",
        tag=TAG,
        summary="Create or replace a tenant",
        description="The last write holds. What the body leaves out has its default.",
        request=bodies.TenantPutSerializer,
        example={"name": "Acme & Sons", "settings": {"rpm": 300}},
        responses={200: shapes.PlatformTenantSerializer, 201: shapes.PlatformTenantSerializer},
        errors=(*PUT, 409),
    ),
    (TenantViewSet, "partial_update"): Operation(
        id="changeTenant",
        tag=TAG,
        summary="Change, disable or enable a tenant",
        request=bodies.TenantPatchSerializer,
        example={"settings": {"max_sessions": 1000, "rpm": None}},
        responses={200: shapes.PlatformTenantSerializer},
        errors=(409,),
    ),
    (TenantViewSet, "destroy"): Operation(
        id="eraseTenant",
        tag=TAG,
        summary="Erase a tenant's data",
        description=(
            "Disables the tenant, revokes its keys, and erases its sessions with everything that belongs to them."
            f" A request works for {ERASE_SECONDS:.0f} s; repeat it until `complete` is true. The tenant itself, its"
            " ledger and its audit trail stay."
        ),
        responses={200: shapes.TenantErasedSerializer},
        errors=(409,),
    ),
    (KeyViewSet, "list"): Operation(
        id="listTenantKeys",
        tag=TAG,
        summary="List a tenant's keys",
        query=(*_PAGE, _filter("state", "Keys in this state.", *KEY_STATES), _filter("name", "Keys of this name.")),
        responses={200: shapes.PlatformKeyPageSerializer},
    ),
    (KeyViewSet, "create"): Operation(
        id="issueTenantKey",
        tag=TAG,
        summary="Issue a key; only this response has its secret",
        description="With an `Idempotency-Key` a repeated request gets the same key and secret for a day.",
        request=bodies.TenantKeyCreateSerializer,
        example={"name": "builds", "scopes": ["sessions", "inference"], "rpm": 120},
        responses={201: shapes.PlatformKeyIssuedSerializer},
        errors=(409,),
        located=True,
    ),
    (KeyViewSet, "retrieve"): Operation(
        id="getTenantKey", tag=TAG, summary="Get a key", responses={200: shapes.PlatformKeySerializer}
    ),
    (KeyViewSet, "partial_update"): Operation(
        id="changeTenantKey",
        tag=TAG,
        summary="Change a key's name, scopes, rate limit or expiry",
        request=bodies.TenantKeyPatchSerializer,
        example={"rpm": 60, "expiresAt": "2030-01-31T00:00:00Z"},
        responses={200: shapes.PlatformKeySerializer},
    ),
    (KeyViewSet, "destroy"): Operation(
        id="revokeTenantKey",
        tag=TAG,
        summary="Revoke a key; it cannot be brought back",
        description="In other processes it stops within GATEWAY_KEY_CACHE_SECONDS. A revoked key is still listed.",
        responses={204: None},
    ),
    (KeyViewSet, "rotate"): Operation(
        id="rotateTenantKey",
        tag=TAG,
        summary="Replace a key's secret; the old one stops at once",
        description="409 `conflict` for a key that is revoked or comes from GATEWAY_API_KEYS.",
        responses={200: shapes.PlatformKeyIssuedSerializer},
        errors=(409,),
    ),
    (UserViewSet, "list"): Operation(
        id="listUsers",
        tag=TAG,
        summary="List the people who sign in",
        query=(*_PAGE, _OF_TENANT),
        responses={200: shapes.PlatformUserPageSerializer},
        errors=(404,),
    ),
    (UserViewSet, "create"): Operation(
        id="createUser",
        tag=TAG,
        summary="Add a person",
        description="409 `conflict` with `field: username` where the name is taken.",
        request=bodies.UserCreateSerializer,
        example={"username": "alice", "tenant": "acme", "role": "staff", "scopes": ["approvals"]},
        responses={201: shapes.PlatformUserCreatedSerializer},
        errors=(409,),
        located=True,
    ),
    (UserViewSet, "retrieve"): Operation(
        id="getUser", tag=TAG, summary="Get a person", responses={200: shapes.PlatformUserSerializer}
    ),
    (UserViewSet, "partial_update"): Operation(
        id="changeUser",
        tag=TAG,
        summary="Disable or enable a person, or set a password",
        request=bodies.UserPatchSerializer,
        example={"disabled": True},
        responses={200: shapes.PlatformUserSerializer},
    ),
    (ProviderViewSet, "list"): Operation(
        id="listProviders",
        tag=TAG,
        summary="List the providers in force, with their sources and states",
        responses={200: shapes.PlatformProviderListSerializer},
    ),
    (ProviderViewSet, "retrieve"): Operation(
        id="getProvider", tag=TAG, summary="Get a provider", responses={200: shapes.PlatformProviderSerializer}
    ),
    (ProviderViewSet, "update"): Operation(
        id="putProvider",
        tag=TAG,
        summary="Set up a provider",
        description=(
            "Replaces what the database has of it. It is in force at once in the process that answers, within seconds"
            " in the others. A configuration that is not valid with it is refused with 422 and the field."
        ),
        request=bodies.ProviderPutSerializer,
        example={"entry": {"base_url": "http://127.0.0.1:8000/v1", "models": ["qwen3"], "api_key": "none"}},
        responses={200: shapes.PlatformProviderSerializer, 201: shapes.PlatformProviderSerializer},
        errors=(*PUT, 422),
    ),
    (ProviderViewSet, "destroy"): Operation(
        id="removeProvider",
        tag=TAG,
        summary="Remove what the database has of a provider",
        description="The file's entry or the shipped one is in force again. 422 where a route or a chain names it.",
        responses={204: None},
        errors=(422,),
    ),
    (PriceViewSet, "list"): Operation(
        id="listPrices",
        tag=TAG,
        summary="List the prices that the operator set",
        query=(*_PAGE, _filter("provider", "Those of this provider.")),
        responses={200: shapes.PlatformPricePageSerializer},
    ),
    (PriceViewSet, "retrieve"): Operation(
        id="getPrice", tag=TAG, summary="Get a price", responses={200: shapes.PlatformPriceSerializer}
    ),
    (PriceViewSet, "update"): Operation(
        id="putPrice",
        tag=TAG,
        summary="Set the price of a model",
        request=bodies.PricePutSerializer,
        example={"input": 0.27, "output": 1.1, "cached": 0.07},
        responses={200: shapes.PlatformPriceSerializer, 201: shapes.PlatformPriceSerializer},
        errors=(*PUT, 422),
    ),
    (PriceViewSet, "destroy"): Operation(
        id="removePrice", tag=TAG, summary="Remove a price", responses={204: None}, errors=(422,)
    ),
    (BudgetViewSet, "list"): Operation(
        id="listBudgets",
        tag=TAG,
        summary="List the budgets",
        query=(*_PAGE, _OF_TENANT),
        responses={200: shapes.PlatformBudgetPageSerializer},
        errors=(404,),
    ),
    (BudgetViewSet, "set_budget"): Operation(
        id="putBudget",
        tag=TAG,
        summary="Set the budget of a tenant, key, model and period",
        description="These four say which budget it is, so the same request twice makes one. The last write holds.",
        request=bodies.BudgetPutSerializer,
        example={"tenant": "default", "period": "month", "usd": 100},
        responses={200: shapes.PlatformBudgetSerializer, 201: shapes.PlatformBudgetSerializer},
        errors=(*PUT, 422),
    ),
    (BudgetViewSet, "retrieve"): Operation(
        id="getBudget", tag=TAG, summary="Get a budget", responses={200: shapes.PlatformBudgetSerializer}
    ),
    (BudgetViewSet, "destroy"): Operation(
        id="removeBudget", tag=TAG, summary="Remove a budget", responses={204: None}, errors=(422,)
    ),
    (AuditViewSet, "list"): Operation(
        id="listAuditEntries",
        tag=TAG,
        summary="Read the audit trail of the whole gateway",
        query=(*_PAGE, _OF_TENANT, _filter("action", "Entries of this action, such as `api_key.issue`.")),
        responses={200: shapes.PlatformAuditPageSerializer},
        errors=(404,),
    ),
}
"""By viewset and action."""


def _paths(resolve: Resolve) -> dict[str, Schema]:
    """Returns the path item of the endpoint that is no view."""
    tested = resolve(shapes.ProviderTestedSerializer, "response")
    content: dict[str, Any] = {
        "application/json": {"schema": resolve(ProviderTestSerializer, "request"), "example": {"model": "demo:echo"}},
    }
    operation: Schema = {
        "operationId": "testProvider",
        "tags": [TAG],
        "summary": "Ask a provider for a few tokens",
        "description": "200 also where the provider fails: `ok` is false then. It takes a minute at most.",
        "parameters": [{"name": "provider", "in": "path", "required": True, "schema": {"type": "string"}}],
        "requestBody": {"content": content},
        "responses": {"200": {"description": "Done.", "content": {"application/json": {"schema": tested}}}},
        "x-scope": "platform",
    }
    return {"/v1/platform/providers/{provider}/test": {"post": operation}}


DOCUMENT = FaceDocument(
    tags=(TAG,),
    operations=OPERATIONS,
    paths=_paths,
    path_parameters={
        "tenant": "The tenant's slug.",
        "key_id": "The key's `id`.",
        "username": "The person's user name.",
        "provider": "The provider's name.",
        "model": "The model's name; slashes in it may be written as they are.",
        "budget_id": "The budget's `id`.",
    },
)
