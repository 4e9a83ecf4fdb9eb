"""Providers: those in force with their sources and states, and what the database has of them."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import NotFound, Unprocessable
from faces.platform.serializers import ProviderPutSerializer
from faces.platform.views.base import PlatformViewSet
from faces.platform.wire import entry_with_hidden, provider_to_wire
from inference_app.models import Provider
from inference_app.operator.providers_in_force import ProviderInForce, provider_in_force, providers_in_force
from inference_app.operator.services import provider_named, provider_save, row_remove


class ProviderViewSet(PlatformViewSet):
    """Providers by their name."""

    lookup_url_kwarg = "provider"

    def list(self, request: Request) -> Response:
        return Response({"providers": [provider_to_wire(provider) for provider in providers_in_force()]})

    def retrieve(self, request: Request, provider: str) -> Response:
        return Response(provider_to_wire(_provider_get(provider)))

    def update(self, request: Request, provider: str) -> Response:
        """Creates or replaces what the database has of the provider."""
        data = self.parse_body(ProviderPutSerializer).validated_data
        row = provider_named(provider)
        is_new = row.pk is None
        row.entry, row.enabled = entry_with_hidden(data["entry"], row.entry), data["enabled"]
        key = (data["key"] or "") if "key" in data else None
        provider_save(provider=row, actor=self.actor, key=key)
        if (found := provider_in_force(provider)) is None:
            # The file was broken meanwhile, so the configuration of before stays in force.
            raise Unprocessable("The provider is saved, and will be in force once the configuration file is valid.")
        headers = {"Location": f"/v1/platform/providers/{provider}"} if is_new else {}
        return Response(provider_to_wire(found), status=201 if is_new else 200, headers=headers)

    def destroy(self, request: Request, provider: str) -> Response:
        """Removes what the database has; the file's entry or the shipped one is in force again."""
        row = Provider.objects.filter(name=provider).first()
        if row is None:
            raise NotFound("The database has no provider of that name.")
        row_remove(row=row, actor=self.actor)
        return Response(status=204)


def _provider_get(name: str) -> ProviderInForce:
    found = provider_in_force(name)
    if found is None:
        raise NotFound("There is no provider of that name.")
    return found
