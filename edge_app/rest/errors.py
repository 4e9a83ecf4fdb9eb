"""Errors of DRF views: the one place from any exception to a `GatewayError`, and from there to a response.

The body is in the shape of the request's face, the native one (docs/protocol-native.md, "Keys, errors, limits") by
default; `edge_app.http.errors` makes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import BadRequest as DjangoBadRequest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404
from django.http.request import UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response

from core_app import errors
from core_app.errors import GatewayError
from core_app.jsontext import clean_text
from edge_app.http.errors import error_headers, face_error_body, internal_error

_FRAMEWORK_ERRORS: tuple[tuple[tuple[type[Exception], ...], type[GatewayError], str], ...] = (
    ((exceptions.NotFound, Http404), errors.NotFound, "There is nothing at this path."),
    ((exceptions.NotAuthenticated, exceptions.AuthenticationFailed), errors.Unauthorized, "An API key is needed."),
    ((exceptions.PermissionDenied, PermissionDenied), errors.Forbidden, "This is not allowed."),
    ((exceptions.MethodNotAllowed,), errors.MethodNotAllowed, "This path does not have that method."),
    (
        (exceptions.UnsupportedMediaType,),
        errors.UnsupportedMediaType,
        "The body has to be sent as application/json.",
    ),
    ((exceptions.Throttled,), errors.RateLimited, "Too many requests; try again in a second."),
    ((RequestDataTooBig,), errors.PayloadTooLarge, "The body is too large."),
    (
        (exceptions.ParseError, DjangoBadRequest, SuspiciousOperation, UnreadablePostError),
        errors.BadRequest,
        "The request is malformed.",
    ),
)
"""Exceptions of Django and DRF, and the error and message that clients get for them. The first match counts."""

_FIELD_MESSAGES = {
    "required": "'{}' is required.",
    "null": "'{}' may not be null.",
    "blank": "'{}' may not be empty.",
}
"""Messages by DRF's error codes, in place of DRF's own, which do not name the field."""

_REWORDED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"{pattern}\Z", re.DOTALL), words)
    for pattern, words in (
        (r"This must (.*)", r"must \1"),
        (r"Not a valid string\.", "must be text."),
        (r"A valid integer is required\.", "must be a whole number."),
        (r"A valid number is required\.", "must be a number."),
        (r"Must be a valid boolean\.", "must be true or false."),
        (r"Expected a list of items but got type .*", "must be a list."),
        (r"Expected a dictionary of items but got type .*", "must be an object."),
        (r"Invalid data\. Expected a dictionary, but got .*", "must be an object."),
        (r"Ensure this field has no more than (\d+) (characters|elements)\.", r"must have at most \1 \2."),
        (r"Ensure this field has at least (\d+) (characters|elements)\.", r"must have at least \1 \2."),
        (r"Ensure this value is less than or equal to (.+)\.", r"must be at most \1."),
        (r"Ensure this value is greater than or equal to (.+)\.", r"must be at least \1."),
        (r"Ensure that there are no more than (\d+) (.+)\.", r"must have at most \1 \2."),
        (r"This list may not be empty\.", "may not be empty."),
    )
)
"""Messages of DRF and of `edge_app.rest.fields`, as the rest of a sentence that begins with the field."""


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response:
    """Turns every exception of a view into a response; DRF's `EXCEPTION_HANDLER`."""
    error = as_gateway_error(exc)
    headers = error_headers(error)
    if isinstance(exc, exceptions.MethodNotAllowed) and (view := context.get("view")) is not None:
        headers["Allow"] = ", ".join(view.allowed_methods)
    scope = getattr(context["request"]._request, "scope", {})
    return Response(face_error_body(scope, error), status=error.status, headers=headers)


def as_gateway_error(exc: Exception) -> GatewayError:
    """Returns the `GatewayError` that corresponds to `exc`; an unknown exception is logged and gets an error id."""
    if isinstance(exc, GatewayError):
        return exc
    if isinstance(exc, exceptions.ValidationError):
        return validation_error(exc.get_full_details())
    for kinds, error, message in _FRAMEWORK_ERRORS:
        if isinstance(exc, kinds):
            return error(message)
    return internal_error(exc)


def camel_case(name: str) -> str:
    """Returns a `snake_case` name in camelCase."""
    return re.sub(r"(?<=[a-z0-9])_([a-z0-9])", lambda match: match[1].upper(), name)


def validation_error(details: Any, spell: Callable[[str], str] = camel_case) -> errors.BadRequest:
    """Returns the first error of a serializer's details, as a sentence that names the field as clients `spell` it."""
    path, leaf = _first_error(details, (), spell)
    field = ".".join(path) or None
    message, code = str(leaf["message"]), str(leaf["code"])
    if field is None:
        return errors.BadRequest(clean_text(message))
    if (sentence := _FIELD_MESSAGES.get(code)) is not None:
        return errors.BadRequest(clean_text(sentence.format(field)), field=field)
    return errors.BadRequest(clean_text(f"'{field}'{_reworded(message)}"), field=field)


def _reworded(message: str) -> str:
    """Returns the message as the rest of a sentence, or behind a colon where it is a sentence of its own."""
    for pattern, words in _REWORDED:
        if (found := pattern.match(message)) is not None:
            return f" {found.expand(words)}"
    return f": {message}"


def _first_error(
    details: Any, path: tuple[str, ...], spell: Callable[[str], str]
) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Returns the first leaf of DRF's nested error details with its path, in which list items go by position."""
    if isinstance(details, Mapping) and isinstance(details.get("message"), str) and "code" in details:
        return path, details
    if isinstance(details, Mapping):
        name, inner = next((name, inner) for name, inner in details.items() if inner)
        inner_path = path if name == "non_field_errors" else (*path, spell(str(name)))
        return _first_error(inner, inner_path, spell)
    position, inner = next((position, inner) for position, inner in enumerate(details) if inner)
    is_leaf = "message" in inner and "code" in inner
    return _first_error(inner, path if is_leaf else (*path, str(position)), spell)
