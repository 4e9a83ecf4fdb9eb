"""Settings of django-allauth, for people who sign in with an OpenID Connect provider.

Without a provider nothing of it is loaded: it would cost every start 0.2 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SIGN_IN_APPS = ("allauth", "allauth.account", "allauth.socialaccount", "allauth.socialaccount.providers.openid_connect")
SIGN_IN_MIDDLEWARE = ("allauth.account.middleware.AccountMiddleware",)


def identity_providers(issuer: str, *, name: str, client_id: str, secret: str, scopes: Sequence[str]) -> dict[str, Any]:
    """Returns allauth's description of the one provider."""
    app = {
        "provider_id": "console",
        "name": name,
        "client_id": client_id,
        "secret": secret,
        "settings": {"server_url": issuer.rstrip("/"), "scope": list(scopes)},
    }
    return {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}}
