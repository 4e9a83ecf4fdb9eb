"""django-allauth for one provider that the settings name: discovery, PKCE, state, and what it leaves to its users.

Beyond the library, an ID token is checked as OpenID Connect Core 1.0, 3.1.3.7 has it: its signature by the provider's
keys, its issuer against GATEWAY_OIDC_ISSUER, its audience, times with LEEWAY_SECONDS of skew, and the nonce of this
sign-in. The library's own accounts, e-mail addresses and sign-up forms are not used, so nobody is found by an address.
"""

from __future__ import annotations

from typing import Any, NoReturn

import jwt
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.crypto import constant_time_compare

from admin_app.oidc.outcome import sign_in_fail, sign_in_finish

PROVIDER = "console"
LEEWAY_SECONDS = 60
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms with a public key. An ID token that is signed with the client's secret is refused."""

MAX_CLAIMS = 200


class Accounts(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """The library's hooks."""

    def list_apps(self, request: HttpRequest, provider: str | None = None, client_id: str | None = None) -> list[Any]:
        """Returns the provider of the settings; the library would also look into its table."""
        config = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]
        return [SocialApp(provider="openid_connect", **config)]

    def on_authentication_error(self, request: HttpRequest, provider: Any, **more: Any) -> NoReturn:
        """Shows the page of a sign-in that failed; the cause is in the log and in the audit trail."""
        exception = more.get("exception")
        reason = type(exception).__name__ if exception is not None else str(more.get("error", "unknown"))
        if isinstance(exception, OAuth2Error) and exception.args and not _is_foreign(exception):
            reason = str(exception)
        raise ImmediateHttpResponse(sign_in_fail(request, reason))


class ProviderError(OAuth2Error):  # type: ignore[misc]
    """An answer of the provider that cannot be used; the message is the gateway's own."""


def _is_foreign(error: Exception) -> bool:
    """True for the library's errors, whose texts may quote the provider."""
    return not isinstance(error, ProviderError)


class OidcAdapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """One sign-in with the provider. `state` is what the start of the sign-in has left in the session."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request, PROVIDER)
        self.state: dict[str, Any] = {}

    @property
    def openid_config(self) -> dict[str, Any]:
        """The provider's own description. Raises ProviderError when it is another issuer's, or cannot be had."""
        try:
            config = super().openid_config
        except (OSError, ValueError) as error:  # the library's failures of HTTP are OSErrors
            raise ProviderError("discovery failed") from error
        wanted = settings.GATEWAY_OIDC_ISSUER.rstrip("/")
        if not isinstance(config, dict) or str(config.get("issuer", "")).rstrip("/") != wanted:
            raise ProviderError("discovery names another issuer")
        if missing := {"authorization_endpoint", "token_endpoint", "jwks_uri"} - config.keys():
            raise ProviderError(f"discovery lacks {min(missing)}")
        return config

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        """Returns the address to which the provider sends the browser back, which is registered there."""
        return request.build_absolute_uri(reverse("console-oidc-callback"))

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **more: Any) -> NoReturn:
        """Checks the tokens and signs the person in; the response leaves the library as an exception."""
        id_token = more["response"].get("id_token")
        if not isinstance(id_token, str):
            raise ProviderError("no ID token")
        claims = self._checked_claims(app, id_token)
        userinfo = self._userinfo(token.token)
        if userinfo.get("sub", claims["sub"]) != claims["sub"]:
            raise ProviderError("userinfo is of another subject")
        merged = {**claims, **userinfo}
        if len(merged) > MAX_CLAIMS:
            raise ProviderError(f"more than {MAX_CLAIMS} claims")
        raise ImmediateHttpResponse(sign_in_finish(request, merged, str(self.state.get("next") or "")))

    def _checked_claims(self, app: Any, id_token: str) -> dict[str, Any]:
        config = self.openid_config
        try:
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key=self._key_of(id_token, config["jwks_uri"]),
                algorithms=ALGORITHMS,
                audience=app.client_id,
                issuer=config["issuer"],
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise ProviderError(f"ID token: {type(error).__name__}") from error
        if claims.get("azp", app.client_id) != app.client_id:
            raise ProviderError("ID token: issued to another client")
        nonce = self.state.get("nonce")
        if not nonce or not constant_time_compare(str(claims.get("nonce", "")), nonce):
            raise ProviderError("ID token: nonce of another sign-in")
        return claims

    def _key_of(self, id_token: str, address: str) -> Any:
        wanted = jwt.get_unverified_header(id_token).get("kid")
        keys = [key for key in jwt.PyJWKSet.from_dict(self._get(address)).keys if key.public_key_use in (None, "sig")]
        found = [key for key in keys if wanted in (None, key.key_id)]
        if len(found) != 1:
            raise ProviderError("ID token: no key of that id")
        return found[0]

    def _userinfo(self, access_token: str) -> dict[str, Any]:
        address = self.openid_config.get("userinfo_endpoint")
        return {} if not address else self._get(address, {"Authorization": f"Bearer {access_token}"})

    def _get(self, address: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            with Accounts().get_requests_session() as session:
                response = session.get(address, headers=headers, allow_redirects=False)
                response.raise_for_status()
                value = response.json()
        except (OSError, ValueError) as error:  # the library's failures of HTTP are OSErrors
            raise ProviderError("a request to the provider failed") from error
        if not isinstance(value, dict):
            raise ProviderError("the provider sent no JSON object")
        return value
