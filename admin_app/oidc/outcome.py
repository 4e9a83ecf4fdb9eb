"""The end of a sign-in with a provider: the session and roles of the person, or a page that says what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from admin_app.sign_in import NOBODY
from admin_app.sign_in_throttle import SIGN_INS, address_of
from tenants_app.services import audit_record
from tenants_app.services.claims import claims_read, person_from_claims

CONSOLE = "/console/"
BACKEND = "django.contrib.auth.backends.ModelBackend"

logger = structlog.get_logger("gateway.sign_in")


def sign_in_finish(request: HttpRequest, claims: Mapping[str, Any], address: str) -> HttpResponse:
    """Signs in the person of checked claims, whose roles are replaced by those that the claims give now."""
    identity = claims_read(claims)
    user = person_from_claims(identity)
    if user is None:
        if SIGN_INS.should_record(request):
            audit_record(actor=NOBODY, action="console.login_no_tenant", detail={"address": address_of(request)})
        shown = {"name": identity.name, "contact": settings.GATEWAY_OIDC_CONTACT, "signed_in": False}
        return render(request, "admin_app/console/no_tenant.html", shown, status=403)
    login(request, user, backend=BACKEND)
    audit_record(actor=f"user:{user.get_username()}", action="console.login", detail={"by": "oidc"})
    good = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(address if good else CONSOLE)


def sign_in_fail(request: HttpRequest, reason: str) -> HttpResponse:
    """Shows the page of a sign-in that failed."""
    logger.warning("oidc_sign_in_failed", reason=reason, address=address_of(request))
    if SIGN_INS.should_record(request):
        detail = {"address": address_of(request), "by": "oidc", "reason": reason}
        audit_record(actor=NOBODY, action="console.login_failed", detail=detail)
    return render(request, "admin_app/console/oidc_failed.html", {"reason": reason}, status=403)
