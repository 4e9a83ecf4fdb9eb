"""API keys of any tenant. A secret is in the response that issues or rotates it, and nowhere else."""

from __future__ import annotations

from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import NotFound
from edge_app.rest.viewsets import idempotent
from faces.platform.serializers import TenantKeyCreateSerializer, TenantKeyPatchSerializer
from faces.platform.views.base import PlatformViewSet, overlay_body, tenant_get
from faces.platform.wire import key_to_wire
from tenants_app.models import ApiKey
from tenants_app.selectors.api_key import KEY_STATES, api_key_id, api_key_pk, keys_in_state
from tenants_app.services import IssuedKey, api_key_issue, api_key_revoke, api_key_rotate, api_key_update


class KeyViewSet(PlatformViewSet):
    """The keys of one tenant."""

    lookup_url_kwarg = "key_id"
    has_secrets = True

    def list(self, request: Request, tenant: str) -> Response:
        rows = ApiKey.objects.filter(tenant=tenant_get(tenant)).select_related("tenant")
        if state := self.choice("state", KEY_STATES):
            rows = keys_in_state(rows, state, clock.now())
        if name := request.query_params.get("name"):
            rows = rows.filter(name=name)
        found, cursor = self.page(rows)
        return Response({"keys": [key_to_wire(key) for key in found], "nextCursor": cursor})

    @idempotent
    def create(self, request: Request, tenant: str) -> Response:
        owner = tenant_get(tenant)
        data = self.parse_body(TenantKeyCreateSerializer).validated_data
        with self.work_transaction():
            issued = api_key_issue(tenant=owner, actor=self.actor, **data)
            location = f"/v1/platform/tenants/{owner.slug}/keys/{api_key_id(issued.key.pk)}"
            return self.store_response(Response(_issued(issued), status=201, headers={"Location": location}))

    def retrieve(self, request: Request, tenant: str, key_id: str) -> Response:
        return Response(key_to_wire(_key_get(tenant, key_id)))

    def partial_update(self, request: Request, tenant: str, key_id: str) -> Response:
        _key_get(tenant, key_id)
        data = self.parse_body(TenantKeyPatchSerializer).validated_data
        with write_transaction():
            key = _key_get(tenant, key_id, lock=True)
            given = overlay_body(data, name=key.name, scopes=key.scopes, rpm=key.rpm, expires_at=key.expires_at)
            api_key_update(key=key, actor=self.actor, **given)
        return Response(key_to_wire(_key_get(tenant, key_id)))

    def destroy(self, request: Request, tenant: str, key_id: str) -> Response:
        """Revokes the key; its row stays for the ledger and the audit trail."""
        api_key_revoke(key=_key_get(tenant, key_id), actor=self.actor)
        return Response(status=204)

    @action(detail=True, methods=["post"], name="Key Rotate")
    @idempotent
    def rotate(self, request: Request, tenant: str, key_id: str) -> Response:
        """Replaces the secret; the old one stops at once."""
        with self.work_transaction():
            issued = api_key_rotate(key=_key_get(tenant, key_id), actor=self.actor)
            return self.store_response(Response(_issued(issued)))


def _key_get(slug: str, text: str, *, lock: bool = False) -> ApiKey:
    rows = ApiKey.objects.select_related("tenant").filter(tenant=tenant_get(slug), pk=api_key_pk(text))
    found = (rows.select_for_update(of=("self",)) if lock else rows).first()
    if found is None:
        raise NotFound("There is no key with that id.")
    return found


def _issued(issued: IssuedKey) -> dict[str, Any]:
    return {**key_to_wire(issued.key), "secret": issued.secret}
