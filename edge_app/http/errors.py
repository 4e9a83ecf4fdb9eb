"""HTTP errors in the native dialect (docs/protocol-native.md, "Keys, errors, limits"): body and headers of an error.

Without Django REST framework, for bare ASGI code: the gate, event streams and sockets. `edge_app.rest.errors` turns the
exceptions of DRF views into these errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from core_app import errors
from core_app.connection_failures import FAILURES, public_cause
from core_app.database_errors import database_busy, database_unavailable
from core_app.errors import GatewayError
from core_app.ids import new_id
from core_app.log_lines import error_summary
from core_app.metrics import ERRORS, LOCK_TIMEOUTS
from edge_app.http.recent_errors import RECENT_ERRORS

ERROR_BODY = "gateway.error_body"
"""Key of the ASGI scope: the `ErrorBody` of the request's face."""

BUSY_SECONDS = 1
"""`Retry-After` for a lock that was not free in time."""

AWAY_SECONDS = 5
"""`Retry-After` for a database that does not answer: a restart or a switchover takes seconds."""

ErrorBody = Callable[[Any, GatewayError], Mapping[str, Any]]
"""Makes the body of an error in a face's shape, for a request's scope."""

logger = structlog.get_logger("gateway.errors")


def face_error_body(scope: Mapping[str, Any], error: GatewayError) -> Mapping[str, Any]:
    """Returns the body in the shape of the request's face, which the gate puts into the scope."""
    render: ErrorBody = scope.get(ERROR_BODY, native_error_body)
    return render(scope, error)


def native_error_body(scope: Any, error: GatewayError) -> Mapping[str, Any]:
    """Returns the body as the native API and the gateway's own pages have it."""
    return error_body(error)


def error_body(error: GatewayError) -> dict[str, Any]:
    """Returns `{"error","message","field"?,"errorId"?}` and counts the error in `gateway_errors`. A face with a dialect
    that does not start from this body counts its errors itself, or not at all."""
    ERRORS.labels(error.code).inc()
    body: dict[str, Any] = {"error": error.code, "message": error.message}
    if error.field is not None:
        body["field"] = error.field
    if isinstance(error, errors.InternalError):
        body["errorId"] = error.error_id
    return body


def error_headers(error: GatewayError) -> dict[str, str]:
    """Returns the headers that the error's status requires: `Retry-After`, `Allow` or `WWW-Authenticate`."""
    if error.retry_after is not None:
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.MethodNotAllowed) and error.allow is not None:
        return {"Allow": error.allow}
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    return {}


def internal_error(cause: BaseException) -> GatewayError:
    """Turns an unknown exception into the error for the client, and logs the traceback under the same error id.

    A database that does not answer, or a lock that is not free in time, is logged in one line and becomes Unavailable,
    so that clients retry.
    """
    if database_busy(cause):
        LOCK_TIMEOUTS.inc()
        logger.warning("lock_timeout", error=error_summary(cause))
        message = "Another request holds what this one needs (GATEWAY_LOCK_TIMEOUT_SECONDS); try again."
        return errors.Unavailable(message, retry_after=BUSY_SECONDS)
    if database_unavailable(cause):
        # A pool without a connection only says that it has none.
        reason = FAILURES.reason() or error_summary(cause)
        logger.warning("database_away", error=reason)
        message = f"The gateway's database does not answer{public_cause(reason)}; try again."
        return errors.Unavailable(message, retry_after=AWAY_SECONDS)
    error = errors.InternalError(new_id("err"))
    RECENT_ERRORS.note(error.error_id, type(cause).__name__)
    logger.error("unhandled_exception", error_id=error.error_id, exc_info=cause)
    return error
