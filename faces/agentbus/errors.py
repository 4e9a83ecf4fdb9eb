"""Errors of the Agentbus protocol, the same codes in replies and over HTTP (docs/protocol-agentbus.md, "Errors")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    Unauthorized,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
    UpstreamError,
)
from edge_app.http.errors import error_body
from edge_app.rpc import ErrorTable, MethodTimedOut

CODES: ErrorTable[int] = ErrorTable(
    {
        GatewayError: 5000,
        BadRequest: 4000,
        MethodNotAllowed: 4000,
        PayloadTooLarge: 4000,
        UnsupportedMediaType: 4000,
        Unprocessable: 4000,
        Unauthorized: 4001,
        Forbidden: 4003,
        NotFound: 4004,
        MethodTimedOut: 4008,
        Conflict: 4009,
        RateLimited: 4029,
        QueueFull: 4029,
        QuotaExceeded: 4029,
        UpstreamError: 5003,
        Unavailable: 5003,
    }
)


def error_object(error: GatewayError) -> dict[str, Any]:
    """Returns `{"code", "message", "details"}`, the error of a reply; `details` has the rest of the native body."""
    native = error_body(error)
    message = native.pop("message")
    details = {"error": native.pop("error"), **native}
    if error.retry_after is not None:
        details["retry_after"] = error.retry_after
    return {"code": CODES.code(error), "message": message, "details": details}


def agentbus_error_body(scope: Any, error: GatewayError) -> Mapping[str, Any]:
    """Returns `{"error": {"code", "message"}}`, the body of an HTTP error."""
    rendered = error_object(error)
    return {"error": {"code": rendered["code"], "message": rendered["message"]}}
