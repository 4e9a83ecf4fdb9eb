"""Error pages of Django, and the refusal of unknown sockets: JSON like the native API's, except in the admin.

The admin keeps Django's own pages.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from core_app.errors import NotFound
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.response import deny_socket
from edge_app.rest import error_pages

PAGES = "/admin/"
REFUSED = 4502


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    page = defaults.bad_request if request.path.startswith(PAGES) else error_pages.bad_request_page
    return page(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    page = defaults.permission_denied if request.path.startswith(PAGES) else error_pages.forbidden_page
    return page(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    page = defaults.page_not_found if request.path.startswith(PAGES) else error_pages.not_found_page
    return page(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500; Django has logged the traceback."""
    page = defaults.server_error if request.path.startswith(PAGES) else error_pages.server_error_page
    return page(request)


async def unknown_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses an upgrade at a path without a socket: 404 as an HTTP response, or a close for servers without one."""
    await receive()
    await deny_socket(scope, send, NotFound("There is no WebSocket at this path."), close_code=REFUSED)
