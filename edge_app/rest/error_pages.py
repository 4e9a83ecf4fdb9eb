"""Django's error handlers (`handler400` to `handler500`), for failures outside DRF views, in the shape of the face."""

from __future__ import annotations

import structlog
from django.http import HttpRequest, HttpResponse

from core_app import errors
from core_app.errors import GatewayError
from core_app.ids import new_id
from core_app.jsontext import clean_text, encode
from edge_app.http.errors import face_error_body
from edge_app.http.recent_errors import RECENT_ERRORS

logger = structlog.get_logger("gateway.errors")


def bad_request_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler400`."""
    return _error_response(request, errors.BadRequest("The request is malformed."))


def forbidden_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler403`."""
    return _error_response(request, errors.Forbidden("This is not allowed."))


def not_found_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler404`."""
    return _error_response(request, errors.NotFound("There is nothing at this path."))


def server_error_page(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`. Django has logged the traceback already."""
    error = errors.InternalError(new_id("err"))
    RECENT_ERRORS.note(error.error_id, "unhandled")
    logger.error("unhandled_exception_outside_a_view", error_id=error.error_id, path=clean_text(request.path)[:200])
    return _error_response(request, error)


def _error_response(request: HttpRequest, error: GatewayError) -> HttpResponse:
    body = face_error_body(getattr(request, "scope", {}), error)
    return HttpResponse(encode(body), status=error.status, content_type="application/json")
