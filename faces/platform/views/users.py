"""People who sign in to the admin and the console."""

from __future__ import annotations

import secrets

from rest_framework.request import Request
from rest_framework.response import Response

from core_app.database import write_transaction
from core_app.errors import NotFound
from edge_app.rest.viewsets import idempotent
from faces.platform.serializers import UserCreateSerializer, UserPatchSerializer
from faces.platform.views.base import PlatformViewSet, tenant_get, tenant_of_body
from faces.platform.wire import user_to_wire
from tenants_app.models import User
from tenants_app.services.user import user_create, user_enable, user_password_set


class UserViewSet(PlatformViewSet):
    """People by their user name."""

    lookup_url_kwarg = "username"
    has_secrets = True

    def list(self, request: Request) -> Response:
        rows = User.objects.select_related("tenant")
        if slug := request.query_params.get("tenant"):
            rows = rows.filter(tenant=tenant_get(slug))
        found, cursor = self.page(rows)
        return Response({"users": [user_to_wire(user) for user in found], "nextCursor": cursor})

    @idempotent
    def create(self, request: Request) -> Response:
        data = self.parse_body(UserCreateSerializer).validated_data
        made = None if data.get("password") else secrets.token_urlsafe(15)
        with self.work_transaction():
            user = user_create(
                username=data["username"],
                password=made or data["password"],
                tenant=tenant_of_body(data["tenant"]) if data.get("tenant") else None,
                scopes=data["scopes"],
                superuser=data["role"] == "superuser",
                staff=data["role"] == "staff",
                actor=self.actor,
            )
            shown = user_to_wire(user) | ({"password": made} if made else {})
            location = f"/v1/platform/users/{user.username}"
            return self.store_response(Response(shown, status=201, headers={"Location": location}))

    def retrieve(self, request: Request, username: str) -> Response:
        return Response(user_to_wire(_user_get(username)))

    def partial_update(self, request: Request, username: str) -> Response:
        user = _user_get(username)
        data = self.parse_body(UserPatchSerializer).validated_data
        with write_transaction():
            if "password" in data:
                user_password_set(user=user, password=data["password"], actor=self.actor)
            if "disabled" in data:
                user_enable(user=user, enabled=not data["disabled"], actor=self.actor)
        return Response(user_to_wire(user))


def _user_get(username: str) -> User:
    found = User.objects.select_related("tenant").filter(username=username).first()
    if found is None:
        raise NotFound("There is no user with that name.")
    return found
