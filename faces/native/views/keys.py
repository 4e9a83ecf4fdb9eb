"""The tenant's API keys: list, issue, rotate and revoke. A secret is in one response only.

Nobody issues a key that may do more than the caller, or touches one that does (`tenants_app.services.api_key`).
"""

from __future__ import annotations

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.paging import cursor_of, limit_of, next_cursor
from edge_app.rest.viewsets import GatewayViewSet, idempotent
from faces.native.serializers import KeyCreateSerializer
from tenants_app.models import Tenant
from tenants_app.principal import ADMIN
from tenants_app.selectors.api_key import api_key_get, api_key_id, api_key_to_wire, api_keys_page
from tenants_app.services import IssuedKey, api_key_issue, api_key_revoke, api_key_rotate


class KeyViewSet(GatewayViewSet):
    """Keys, the newest first."""

    scope = ADMIN
    lookup_url_kwarg = "key_id"
    has_secrets = True

    def list(self, request: Request) -> Response:
        found, cursor = api_keys_page(self.principal, before=cursor_of(request), limit=limit_of(request))
        return Response({"keys": [api_key_to_wire(key) for key in found], "nextCursor": next_cursor(cursor)})

    @idempotent
    def create(self, request: Request) -> Response:
        data = self.parse_body(KeyCreateSerializer).validated_data
        with self.work_transaction():
            issued = api_key_issue(
                tenant=Tenant.objects.get(pk=self.principal.tenant_id),
                name=data["name"],
                scopes=data["scopes"],
                rpm=data.get("rpm"),
                expires_at=data.get("expiresAt"),
                by=self.principal,
            )
            location = {"Location": f"/v1/keys/{api_key_id(issued.key.pk)}"}
            return self.store_response(Response(_issued_to_wire(issued), status=201, headers=location | _NO_STORE))

    def retrieve(self, request: Request, key_id: str) -> Response:
        return Response(api_key_to_wire(api_key_get(self.principal, key_id)))

    def destroy(self, request: Request, key_id: str) -> Response:
        """Revokes the key; it stays in the list."""
        api_key_revoke(key=api_key_get(self.principal, key_id), by=self.principal)
        return Response(status=204)

    @action(detail=True, methods=["post"], name="Key Rotate")
    @idempotent
    def rotate(self, request: Request, key_id: str) -> Response:
        """Makes a new secret; the former one stops at once."""
        with self.work_transaction():
            issued = api_key_rotate(key=api_key_get(self.principal, key_id), by=self.principal)
            return self.store_response(Response(_issued_to_wire(issued), headers=_NO_STORE))


_NO_STORE = {"Cache-Control": "no-store"}


def _issued_to_wire(issued: IssuedKey) -> dict[str, object]:
    return {**api_key_to_wire(issued.key), "secret": issued.secret}
