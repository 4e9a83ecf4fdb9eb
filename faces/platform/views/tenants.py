"""Tenants: their settings, whether they are disabled, and their erasure."""

from __future__ import annotations

from time import monotonic

from rest_framework.request import Request
from rest_framework.response import Response

from core_app.database import write_transaction
from edge_app.rest.viewsets import idempotent
from faces.platform.serializers import TenantCreateSerializer, TenantPatchSerializer, TenantPutSerializer
from faces.platform.views.base import PlatformViewSet, tenant_get
from faces.platform.wire import tenant_to_wire
from sessions_app.services.erasure import tenant_erase
from tenants_app.models import ApiKey, Tenant
from tenants_app.services import api_key_revoke, tenant_create, tenant_update

ERASE_SECONDS = 20.0
"""Time that one request erases; the client repeats it until everything is gone."""


class TenantViewSet(PlatformViewSet):
    """Tenants by their slug."""

    lookup_url_kwarg = "tenant"

    def list(self, request: Request) -> Response:
        found, cursor = self.page(Tenant.objects.all())
        return Response({"tenants": [tenant_to_wire(tenant) for tenant in found], "nextCursor": cursor})

    @idempotent
    def create(self, request: Request) -> Response:
        data = self.parse_body(TenantCreateSerializer).validated_data
        with write_transaction():
            tenant = self._create(data.pop("slug"), data)
            return self.store_response(_created(tenant))

    def retrieve(self, request: Request, tenant: str) -> Response:
        return Response(tenant_to_wire(tenant_get(tenant)))

    def update(self, request: Request, tenant: str) -> Response:
        """Creates the tenant or replaces it."""
        data = self.parse_body(TenantPutSerializer).validated_data
        with write_transaction():
            found = Tenant.objects.select_for_update().filter(slug=tenant).first()
            if found is None:
                return _created(self._create(tenant, data))
            changed = tenant_update(tenant=found, actor=self.actor, **{"name": found.slug, **data})
        return Response(tenant_to_wire(changed))

    def partial_update(self, request: Request, tenant: str) -> Response:
        tenant_get(tenant)
        data = self.parse_body(TenantPatchSerializer).validated_data
        with write_transaction():
            found = Tenant.objects.select_for_update().get(slug=tenant)
            if "settings" in data:
                merged = {**found.settings, **data["settings"]}
                data["settings"] = {name: value for name, value in merged.items() if value is not None}
            changed = tenant_update(tenant=found, actor=self.actor, **data)
        return Response(tenant_to_wire(changed))

    def destroy(self, request: Request, tenant: str) -> Response:
        """Disables the tenant, revokes its keys, and erases its sessions and everything that belongs to them."""
        found = tenant_get(tenant)
        until = monotonic() + ERASE_SECONDS
        tenant_update(tenant=found, disabled=True, actor=self.actor)
        for key in ApiKey.objects.filter(tenant=found, revoked_at=None).order_by("pk"):
            api_key_revoke(key=key, actor=self.actor)
        erased = tenant_erase(tenant=found, actor=self.actor, go_on=lambda: monotonic() < until)
        return Response({"slug": found.slug, "sessionsErased": erased.sessions, "complete": erased.complete})

    def _create(self, slug: str, data: dict[str, object]) -> Tenant:
        disabled = data.pop("disabled", False)
        tenant = tenant_create(slug=slug, actor=self.actor, **data)  # type: ignore[arg-type]  # as validated
        return tenant_update(tenant=tenant, disabled=True, actor=self.actor) if disabled else tenant


def _created(tenant: Tenant) -> Response:
    return Response(tenant_to_wire(tenant), status=201, headers={"Location": f"/v1/platform/tenants/{tenant.slug}"})
