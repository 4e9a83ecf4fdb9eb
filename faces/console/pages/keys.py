"""Keys: the tenant's API keys with their scopes, limits and expiry. The page never has a secret: the native API returns
a new one to the script, which shows it once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from core_app import clock
from faces.console.page import Page, Visit
from tenants_app.principal import ADMIN, SCOPES
from tenants_app.selectors.api_key import api_key_id, api_keys_page
from tenants_app.services.api_key import effective_rpm

LISTED = 200


def _context(visit: Visit) -> Mapping[str, Any]:
    principal = visit.principal
    now = clock.now()
    rows, following = api_keys_page(principal, before=None, limit=LISTED)
    keys = [
        {
            "row": key,
            "id": api_key_id(key.pk),
            "rpm": effective_rpm(key.rpm),
            "state": "revoked" if key.revoked_at else "expired" if not key.is_good(now) else "good",
            "mine": set(key.scopes) <= principal.held,
        }
        for key in sorted(rows, key=lambda key: key.revoked_at is not None)
    ]
    return {
        "keys": keys,
        "more": following is not None,
        "data": {"scopes": [scope for scope in SCOPES if scope in principal.held]},
    }


PAGE = Page(
    name="keys",
    route="keys",
    title=_("Keys"),
    template="console/keys.html",
    script="keys.js",
    style="work.css",
    context=_context,
    scopes=(ADMIN,),
)
