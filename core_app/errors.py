"""The tree of errors that clients see. Each face renders them in its own wire shape.

GatewayError
├── BadRequest 400            ├── Conflict 409          ├── QuotaExceeded 402
├── Unauthorized 401          ├── Gone 410              ├── RateLimited 429 (retry_after)
├── Forbidden 403             ├── PayloadTooLarge 413   ├── QueueFull 429
├── NotFound 404              ├── UnsupportedMediaType  ├── UpstreamError 502
│   └── SessionNotFound 404   │   415                   ├── Unavailable 503
└── MethodNotAllowed 405      └── Unprocessable 422     └── InternalError 500 (error_id)

The model gateway adds members of its own (`inference_app.errors`). The message is a sentence for the client; it never
holds the text of a foreign exception.
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """An expected failure. `code` is for programs (docs/protocol-native.md, "Keys, errors, limits"); `field` names the
    field at fault; `retry_after` is the number of seconds after which a client may try again, None when unknown."""

    code: str = "internal_error"
    status: int = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after


class BadRequest(GatewayError):
    code, status = "bad_request", 400


class Unauthorized(GatewayError):
    code, status = "unauthorized", 401


class QuotaExceeded(GatewayError):
    code, status = "quota_exceeded", 402


class Forbidden(GatewayError):
    code, status = "forbidden", 403


class NotFound(GatewayError):
    code, status = "not_found", 404


class SessionNotFound(NotFound):
    code = "session_not_found"


class MethodNotAllowed(GatewayError):
    """A method that the path does not have; `allow` lists those it has, for the header `Allow`."""

    code, status = "method_not_allowed", 405

    def __init__(self, message: str, *, allow: str | None = None) -> None:
        super().__init__(message)
        self.allow = allow


class Conflict(GatewayError):
    code, status = "conflict", 409


class Gone(GatewayError):
    code, status = "gone", 410


class PayloadTooLarge(GatewayError):
    code, status = "payload_too_large", 413


class UnsupportedMediaType(GatewayError):
    code, status = "unsupported_media_type", 415


class Unprocessable(GatewayError):
    code, status = "unprocessable", 422


class RateLimited(GatewayError):
    code, status, retryable = "rate_limited", 429, True

    retry_after: int

    def __init__(self, message: str, *, retry_after: int = 1, field: str | None = None) -> None:
        super().__init__(message, field=field, retry_after=max(1, retry_after))


class QueueFull(GatewayError):
    code, status, retryable = "queue_full", 429, True


class InternalError(GatewayError):
    """The error for an unknown exception; `error_id` is in the log line with the traceback."""

    def __init__(self, error_id: str) -> None:
        super().__init__(f"Something failed inside the gateway; the log names it {error_id}.")
        self.error_id = error_id


class UpstreamError(GatewayError):
    code, status, retryable = "upstream_error", 502, True


class Unavailable(GatewayError):
    code, status, retryable = "unavailable", 503, True
