"""Settings of people's sign-in: cookies, the length of a sign-in, and an OpenID Connect provider (GATEWAY_OIDC_ISSUER).

`settings.py` imports them all. Without a provider nothing of django-allauth is loaded: it would cost every
start 0.2 s.
"""

from __future__ import annotations

from typing import Any

from gateway_project.configuration.environment import env

# A sign-in of a person lasts this long; the roles that an identity provider gives are read at each.
GATEWAY_SIGN_IN_SECONDS = env.int("SIGN_IN_SECONDS", 12 * 3600)
# An OpenID Connect provider; its `/.well-known/openid-configuration` has everything else.
GATEWAY_OIDC_ISSUER = env.str("OIDC_ISSUER", "")
GATEWAY_OIDC_CLIENT_ID = env.str("OIDC_CLIENT_ID", "")
GATEWAY_OIDC_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", "")
# The words on the button.
GATEWAY_OIDC_NAME = env.str("OIDC_NAME", "Single sign-on")
GATEWAY_OIDC_SCOPES: list[str] = env.list("OIDC_SCOPES", ["openid", "profile", "email"])
# Claims with the person's name and groups; a dot leads into an object (`realm_access.roles`).
GATEWAY_OIDC_CLAIM_NAME = env.str("OIDC_CLAIM_NAME", "preferred_username")
GATEWAY_OIDC_CLAIM_GROUPS = env.str("OIDC_CLAIM_GROUPS", "groups")
# Roles of groups: `group=tenant:role`.
GATEWAY_OIDC_GROUP_ROLES: list[str] = env.list("OIDC_GROUP_ROLES", [])
# Claims with the slug of one tenant and the role there, for providers that keep them so.
GATEWAY_OIDC_CLAIM_TENANT = env.str("OIDC_CLAIM_TENANT", "")
GATEWAY_OIDC_CLAIM_ROLE = env.str("OIDC_CLAIM_ROLE", "")
# Whom people without a tenant should ask.
GATEWAY_OIDC_CONTACT = env.str("OIDC_CONTACT", "")

# Names of their own: cookies know no ports, and another Django on the same host has the same names by default. Pages
# read the CSRF token from their own markup.
SESSION_COOKIE_NAME = "gateway_session"
SESSION_COOKIE_AGE = GATEWAY_SIGN_IN_SECONDS
CSRF_COOKIE_NAME = "gateway_csrf"
CSRF_COOKIE_HTTPONLY = True
# Django's default lies below every path that a server does not have: pages of people begin at the console's.
LOGIN_URL = "/console/sign-in"

SIGN_IN_APPS = (
    ["allauth", "allauth.account", "allauth.socialaccount", "allauth.socialaccount.providers.openid_connect"]
    if GATEWAY_OIDC_ISSUER
    else []
)
SIGN_IN_MIDDLEWARE = ["allauth.account.middleware.AccountMiddleware"] if GATEWAY_OIDC_ISSUER else []
SOCIALACCOUNT_ADAPTER = "admin_app.oidc.adapter.Accounts"
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5
SOCIALACCOUNT_EMAIL_VERIFICATION = ACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "console",
                "name": GATEWAY_OIDC_NAME,
                "client_id": GATEWAY_OIDC_CLIENT_ID,
                "secret": GATEWAY_OIDC_CLIENT_SECRET,
                "settings": {"server_url": GATEWAY_OIDC_ISSUER.rstrip("/"), "scope": GATEWAY_OIDC_SCOPES},
            }
        ],
    }
}
