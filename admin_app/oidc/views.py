"""POST /console/oidc/start and GET /console/oidc/callback."""

from __future__ import annotations

from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.crypto import get_random_string
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_GET, require_POST

from admin_app.oidc.adapter import OidcAdapter
from admin_app.oidc.outcome import sign_in_fail
from admin_app.sign_in_throttle import SIGN_INS

NONCE_CHARACTERS = 32


@require_POST
@csrf_protect
@never_cache
def start(request: HttpRequest) -> HttpResponse:
    """Sends the browser to the provider, with a state, a nonce and a PKCE challenge that this session alone knows."""
    if (refused := _throttled(request)) is not None:
        return refused
    adapter = OidcAdapter(request)
    provider = adapter.get_provider()
    provider.get_oauth2_adapter = lambda request: adapter
    nonce = get_random_string(NONCE_CHARACTERS)
    address = request.POST.get("next", "")[:2000]
    try:
        response: HttpResponse = provider.redirect(
            request, AuthProcess.LOGIN, next_url=address, auth_params={"nonce": nonce}, nonce=nonce
        )
    except (OAuth2Error, ImmediateHttpResponse) as error:
        return error.response if isinstance(error, ImmediateHttpResponse) else sign_in_fail(request, str(error))
    return response


@require_GET
@never_cache
def callback(request: HttpRequest) -> HttpResponse:
    """Ends the sign-in. A state is good once, for ten minutes, in the browser that began."""
    response: HttpResponse = _Callback.adapter_view(OidcAdapter)(request)
    return response


class _Callback(OAuth2CallbackView):  # type: ignore[misc]  # allauth ships no types
    def _get_state(self, request: HttpRequest, provider: Any) -> Any:
        state, response = super()._get_state(request, provider)
        self.adapter.state = state or {}
        return state, response


def _throttled(request: HttpRequest) -> HttpResponse | None:
    wait = SIGN_INS.attempt_from(request)
    if not wait:
        return None
    response = render(request, "admin_app/console/oidc_failed.html", {"wait": wait}, status=429)
    response["Retry-After"] = str(wait)
    return response


urlpatterns = [
    path("console/oidc/start", start, name="console-oidc-start"),
    path("console/oidc/callback", callback, name="console-oidc-callback"),
]
