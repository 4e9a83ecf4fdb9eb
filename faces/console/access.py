"""Ways of people whom the pages do not show anything: to the sign-in and back, or to somebody who gives them a role."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from admin_app.access import Person, no_tenant_page, person_of, user_of
from core_app.errors import Forbidden, Unauthorized


def person_or_way(request: HttpRequest) -> Person | HttpResponse:
    """Returns the signed-in person in their tenant, else the response that says how to become one."""
    try:
        return person_of(request)
    except Unauthorized:
        return sign_in_redirect(request)
    except Forbidden:
        assert user_of(request) is not None
        response = no_tenant_page(request)
        assert isinstance(response, HttpResponse)
        return response


def sign_in_redirect(request: HttpRequest) -> HttpResponse:
    """Returns the way to the sign-in page and back."""
    return HttpResponseRedirect(f"{reverse('console-sign-in')}?{urlencode({'next': request.get_full_path()})}")
