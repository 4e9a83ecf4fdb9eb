"""DRF authentication: the gate's principal, or an API key in the headers.

A request that came through the gate has its principal in the ASGI scope. One that did not (Django's test client) is
authenticated here. A module of its own, because DRF imports it by the name in its settings while it loads its views.
"""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from tenants_app.authentication import principal_for_secret, secret_from_scope
from tenants_app.principal import Principal


class KeyAuthentication(BaseAuthentication):
    """Sets `request.auth` to a Principal; a request without a valid key ends with 401."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Principal]:
        scope = getattr(request._request, "scope", {})
        principal = scope.get("gateway.principal")
        if principal is None:
            principal = principal_for_secret(_secret(request._request))
        return AnonymousUser(), principal

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _secret(request: HttpRequest) -> str | None:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in request.headers.items()
    ]
    return secret_from_scope({"type": "http", "headers": headers})
