"""What is answered where no room answers: the native contract's JSON, in the admin Django's own pages.

Sockets to unknown paths are refused with an HTTP answer where the server can send one.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from core_app.errors import NotFound
from core_app.jsontext import encode
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.errors import error_body
from edge_app.rest import error_pages

PAGES = "/admin/"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    answer = defaults.bad_request if request.path.startswith(PAGES) else error_pages.bad_request_page
    return answer(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    answer = defaults.permission_denied if request.path.startswith(PAGES) else error_pages.forbidden_page
    return answer(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    answer = defaults.page_not_found if request.path.startswith(PAGES) else error_pages.not_found_page
    return answer(request, exception)


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500, which has logged the traceback."""
    answer = defaults.server_error if request.path.startswith(PAGES) else error_pages.server_error_page
    return answer(request)


async def unknown_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses an upgrade: 404 as an HTTP answer, or the bare refusal that daphne knows."""
    await receive()
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 4502})
        return
    error = NotFound("There is no WebSocket at this path.")
    headers = [(b"content-type", b"application/json")]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": encode(error_body(error))})
