"""Rendering of pages: the frame around them, their security headers, and pages for errors.

Everything is rendered in the visitor's language. An unknown exception is logged under an id, which its page shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _

from core_app.errors import Forbidden, GatewayError, MethodNotAllowed, NotFound, Unauthorized
from edge_app.http.errors import error_body, error_headers, internal_error
from faces.console.access import person_or_way, sign_in_redirect
from faces.console.language import LANGUAGES, language_of
from faces.console.page import Page, Visit
from faces.console.registry import PAGES
from tenants_app.people import tenants_of
from tenants_app.principal import SCOPES

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types"
)
"""Only the gateway's own files run, and no script can turn text into markup (`require-trusted-types-for`)."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

View = Callable[..., HttpResponse]


def page_view(page: Page) -> View:
    """Returns the Django view of a page."""

    def show(visit: Visit, **parameters: Any) -> HttpResponse:
        if not visit.allows(page.scopes):
            raise Forbidden(_("This page needs the right “%(scope)s”.") % {"scope": page.scopes[0]})
        shown = page.context(visit, **parameters)
        return _rendered(visit.request, page.template, {"page": page, "title": page.title, **shown}, visit=visit)

    return console_view(show)


def console_view(show: View) -> View:
    """Returns a Django view that calls `show` with a Visit, in the visitor's language; for pages, with GET alone."""

    def view(request: HttpRequest, **parameters: Any) -> HttpResponse:
        with translation.override(language_of(request)):
            return _answer(request, show, parameters)

    return view


def home(visit: Visit) -> HttpResponse:
    """GET /console: leads to the first page that the visitor may see."""
    for page in PAGES:
        if page.menu and visit.allows(page.scopes):
            return HttpResponseRedirect(reverse(f"console:{page.name}"))
    raise Forbidden(_("You are signed in, but your role shows no page of the console."))


def unknown(visit: Visit, path: str = "") -> HttpResponse:
    """Raises NotFound: no page has this address."""
    raise NotFound(_("There is no page at this address."))


def _answer(request: HttpRequest, show: View, parameters: Mapping[str, Any]) -> HttpResponse:
    visit: Visit | None = None
    try:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("Pages are read with GET.", allow="GET, HEAD")
        person = person_or_way(request)
        if isinstance(person, HttpResponse):
            return person
        visit = Visit(request, person)
        return show(visit, **parameters)
    except Unauthorized:
        return sign_in_redirect(request)
    except GatewayError as error:
        return _error_page(request, error, visit)
    except Http404:
        return _error_page(request, NotFound(_("There is no page at this address.")), visit)
    except Exception as cause:  # the boundary of the pages: unknown exceptions are logged and get an error id
        return _error_page(request, internal_error(cause), visit)


def _error_page(request: HttpRequest, error: GatewayError, visit: Visit | None) -> HttpResponse:
    body = error_body(error)
    shown = {"title": _("This did not work"), "error": body, "status": error.status}
    response = _rendered(request, "console/error.html", shown, visit=visit, status=error.status)
    for name, value in error_headers(error).items():
        response.headers[name] = value
    return response


def _rendered(
    request: HttpRequest, template: str, shown: Mapping[str, Any], *, visit: Visit | None, status: int = 200
) -> HttpResponse:
    page = shown.get("page")
    frame = {
        "data": {},
        **shown,
        "menu": menu(visit),
        "here": (page.parent or page.name) if page is not None else "",
        "languages": LANGUAGES,
        "language": language_of(request),
        "visit": visit,
        "tenants": tenants_of(visit.person.user) if visit is not None else [],
        "console": script_data(request, visit),
    }
    return add_headers(HttpResponse(render_to_string(template, frame, request), status=status), language_of(request))


def add_headers(response: HttpResponse, language: str) -> HttpResponse:
    """Returns the response of a page with the headers that protect it."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers["Content-Language"] = language
    patch_vary_headers(response, ("Accept-Language", "Cookie"))
    return response


def menu(visit: Visit | None) -> list[Page]:
    """Returns the pages that the visitor finds in the menu."""
    return [] if visit is None else [page for page in PAGES if page.menu and visit.allows(page.scopes)]


def script_data(request: HttpRequest, visit: Visit | None) -> dict[str, Any]:
    """Returns what every script may know: who is here, with which rights, and the token for changes."""
    if visit is None:
        return {"csrf": get_token(request), "user": None, "tenant": None, "scopes": []}
    principal = visit.principal
    return {
        "csrf": get_token(request),
        "user": principal.key_name,
        "tenant": principal.tenant_slug,
        "scopes": [scope for scope in SCOPES if principal.allows(scope)],
    }
