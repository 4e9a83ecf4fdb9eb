"""URLs for these tests: the admin, and viewsets on the REST base."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from admin_app.site import SITE
from core_app.errors import Conflict
from edge_app.rest.viewsets import GatewayViewSet, idempotent


class ItemSerializer(serializers.Serializer):  # type: ignore[type-arg]
    role_name = serializers.ChoiceField(choices=["user", "assistant"])


class ThingSerializer(serializers.Serializer):  # type: ignore[type-arg]
    text = serializers.CharField()
    max_turns = serializers.IntegerField(required=False, max_value=100)
    items = ItemSerializer(many=True, required=False)


class EchoViewSet(GatewayViewSet):
    """Returns the caller's tenant, and the body."""

    scopes = {"destroy": "admin"}

    def list(self, request: Request) -> Response:
        return Response({"tenant": self.principal.tenant_slug})

    def create(self, request: Request) -> Response:
        return Response({"data": request.data})

    def destroy(self, request: Request) -> Response:
        return Response(status=204)


class ThingViewSet(GatewayViewSet):
    """Validates a body; `calls` counts the requests that got past that."""

    scope = "sessions"
    calls = 0

    @idempotent
    def create(self, request: Request) -> Response:
        serializer = ThingSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        type(self).calls += 1
        if serializer.validated_data["text"] == "taken":
            raise Conflict("It is taken.")
        return Response({"number": type(self).calls}, status=201, headers={"Location": "/things/1"})


class FailingViewSet(GatewayViewSet):
    """Raises an unknown exception."""

    def list(self, request: Request) -> Response:
        raise RuntimeError("the password is hunter2")


class MissingViewSet(GatewayViewSet):
    """Raises what Django's shortcuts raise."""

    def list(self, request: Request) -> Response:
        raise Http404


def crash(request: HttpRequest) -> HttpResponse:
    """A plain Django view that fails."""
    raise RuntimeError("the password is hunter2")


urlpatterns = [
    path("admin/", SITE.urls),
    path("echo", EchoViewSet.as_view({"get": "list", "post": "create", "delete": "destroy"})),
    path("things", ThingViewSet.as_view({"post": "create"})),
    path("other-things", ThingViewSet.as_view({"post": "create"})),
    path("failing", FailingViewSet.as_view({"get": "list"})),
    path("missing", MissingViewSet.as_view({"get": "list"})),
    path("crash", crash),
]
handler400 = "edge_app.rest.error_pages.bad_request_page"
handler404 = "edge_app.rest.error_pages.not_found_page"
handler500 = "edge_app.rest.error_pages.server_error_page"
