"""The parts of DRF that every REST face shares, without knowing who asks.

Answers are JSON whatever `Accept` says (clients that set `text/event-stream` globally get 406 from DRF otherwise);
bodies are strict JSON; every failure becomes the contract's body (contracts/native.md, "Keys, limits, errors").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from django.core.exceptions import BadRequest as DjangoBadRequest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from rest_framework import exceptions
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from core_app import errors
from core_app.errors import GatewayError
from core_app.ids import new_id
from core_app.jsontext import clean_text, decode_untrusted, encode
from edge_app.http.errors import error_body, error_headers, internal_error

logger = structlog.get_logger("gateway.errors")

__all__ = [
    "JSONNegotiation",
    "JSONRenderer",
    "StrictJSONParser",
    "as_gateway_error",
    "bad_request_page",
    "camel_case",
    "error_body",
    "error_headers",
    "exception_handler",
    "forbidden_page",
    "internal_error",
    "not_found_page",
    "server_error_page",
    "validation_error",
]

_SENTENCES = {
    "required": "'{}' is required.",
    "null": "'{}' may not be null.",
    "blank": "'{}' may not be empty.",
}


class JSONRenderer(BaseRenderer):
    """Compact JSON; an answer without data has no body."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else encode(data)


class StrictJSONParser(BaseParser):
    """A cleaned value of strict JSON; an empty body is an empty object."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        raw = stream.read()
        return decode_untrusted(raw) if raw.strip() else {}


class JSONNegotiation(BaseContentNegotiation):
    """JSON in and JSON out: `Accept` and `?format=` are not looked at, a missing Content-Type means JSON."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if media_type in ("", parser.media_type)), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: Any = None
    ) -> tuple[BaseRenderer, str]:
        return next(iter(renderers)), "application/json"


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER: the boundary where every exception of a view becomes an answer."""
    error = as_gateway_error(exc)
    headers = error_headers(error)
    if isinstance(exc, exceptions.MethodNotAllowed) and (view := context.get("view")) is not None:
        headers["Allow"] = ", ".join(view.allowed_methods)
    return Response(error_body(error), status=error.status, headers=headers)


def as_gateway_error(exc: Exception) -> GatewayError:
    """The member of our tree that says what `exc` says."""
    if isinstance(exc, GatewayError):
        return exc
    if isinstance(exc, exceptions.ValidationError):
        return validation_error(exc.get_full_details())
    for kinds, make in _MEANINGS:
        if isinstance(exc, kinds):
            return make()
    return internal_error(exc)


def validation_error(details: Any) -> errors.BadRequest:
    """The first failing field of a serializer's errors, as a sentence that names it on the wire's terms."""
    path, leaf = _first(details, ())
    field = ".".join(path) or None
    message, code = str(leaf["message"]), str(leaf["code"])
    if field is None:
        return errors.BadRequest(clean_text(message))
    sentence = _SENTENCES.get(code, "'{}': " + message.replace("{", "{{").replace("}", "}}"))
    return errors.BadRequest(clean_text(sentence.format(field)), field=field)


def bad_request_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler400`."""
    return _page(errors.BadRequest("The request is malformed."))


def forbidden_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler403`."""
    return _page(errors.Forbidden("This is not allowed."))


def not_found_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler404`."""
    return _page(errors.NotFound("There is nothing at this path."))


def server_error_page(request: HttpRequest) -> HttpResponse:
    """`handler500`: for failures outside DRF, whose traceback Django has logged already."""
    error = errors.InternalError(new_id("err"))
    logger.error("unhandled_exception_outside_a_view", error_id=error.error_id, path=clean_text(request.path)[:200])
    return _page(error)


def _page(error: GatewayError) -> HttpResponse:
    return HttpResponse(encode(error_body(error)), status=error.status, content_type="application/json")


def _first(details: Any, path: tuple[str, ...]) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """The first leaf of DRF's nested error details; list positions of items are part of the path."""
    if isinstance(details, Mapping) and isinstance(details.get("message"), str) and "code" in details:
        return path, details
    if isinstance(details, Mapping):
        name, inner = next((name, inner) for name, inner in details.items() if inner)
        named = path if name == "non_field_errors" else (*path, camel_case(str(name)))
        return _first(inner, named)
    position, inner = next((position, inner) for position, inner in enumerate(details) if inner)
    is_leaf = "message" in inner and "code" in inner
    return _first(inner, path if is_leaf else (*path, str(position)))


def camel_case(name: str) -> str:
    """`snake_case` as the wire spells it."""
    return re.sub(r"(?<=[a-z0-9])_([a-z0-9])", lambda match: match[1].upper(), name)


_MEANINGS: tuple[tuple[tuple[type[Exception], ...], Callable[[], GatewayError]], ...] = (
    (
        (exceptions.NotFound, Http404),
        lambda: errors.NotFound("There is nothing at this path."),
    ),
    (
        (exceptions.NotAuthenticated, exceptions.AuthenticationFailed),
        lambda: errors.Unauthorized("An API key is needed."),
    ),
    ((exceptions.PermissionDenied, PermissionDenied), lambda: errors.Forbidden("This is not allowed.")),
    ((exceptions.MethodNotAllowed,), lambda: errors.MethodNotAllowed("This path does not have that method.")),
    (
        (exceptions.UnsupportedMediaType,),
        lambda: errors.UnsupportedMediaType("The body has to be sent as application/json."),
    ),
    ((exceptions.Throttled,), lambda: errors.RateLimited("Too many requests; try again in a second.")),
    ((RequestDataTooBig,), lambda: errors.PayloadTooLarge("The body is too large.")),
    (
        (exceptions.ParseError, DjangoBadRequest, SuspiciousOperation, UnreadablePostError),
        lambda: errors.BadRequest("The request is malformed."),
    ),
)
