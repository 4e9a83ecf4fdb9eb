"""Middleware with the headers that protect pages: a Content-Security-Policy, and `Secure` on cookies over https.

The policy allows the gateway's own files alone, so markup that got into a page runs nothing and sends nothing away. A
view that has a policy of its own (`/docs`) keeps it. Cookies are `Secure` when the request came over https, by TLS here
or by a trusted proxy's word: one process may serve both, and a setting would lock out people who use plain http.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

POLICY_HEADER = "Content-Security-Policy"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)


class PageHeaders:
    """The middleware. It is outside of those that set cookies."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if response.headers.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault(POLICY_HEADER, POLICY)
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response
