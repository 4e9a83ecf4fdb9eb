"""The one tree of errors that reach people; each face renders it in its own wire shape.

GatewayError
├── BadRequest 400            ├── Conflict 409          ├── QuotaExceeded 402
├── Unauthorized 401          ├── Gone 410              ├── RateLimited 429 (retry_after)
├── Forbidden 403             ├── PayloadTooLarge 413   ├── QueueFull 429
├── NotFound 404              ├── UnsupportedMediaType  ├── UpstreamError 502
│   └── SessionNotFound 404   │   415                   ├── Unavailable 503
└── MethodNotAllowed 405      └── Unprocessable 422     └── InternalError 500 (error_id)

The message is a sentence for the client; it never carries the text of a foreign exception.
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """An expected failure with a code of the contract (contracts/native.md, "Keys, limits, errors")."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    rpc_code: ClassVar[int] = 5000
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class BadRequest(GatewayError):
    code, status, rpc_code = "bad_request", 400, 4000


class Unauthorized(GatewayError):
    code, status, rpc_code = "unauthorized", 401, 4001


class QuotaExceeded(GatewayError):
    code, status, rpc_code = "quota_exceeded", 402, 4029


class Forbidden(GatewayError):
    code, status, rpc_code = "forbidden", 403, 4003


class NotFound(GatewayError):
    code, status, rpc_code = "not_found", 404, 4004


class SessionNotFound(NotFound):
    code = "session_not_found"


class MethodNotAllowed(GatewayError):
    """`allow` names the methods that the path has, for the header that HTTP asks for."""

    code, status, rpc_code = "method_not_allowed", 405, 4000

    def __init__(self, message: str, *, allow: str | None = None) -> None:
        super().__init__(message)
        self.allow = allow


class Conflict(GatewayError):
    code, status, rpc_code = "conflict", 409, 4009


class Gone(GatewayError):
    code, status, rpc_code = "gone", 410, 4004


class PayloadTooLarge(GatewayError):
    code, status, rpc_code = "payload_too_large", 413, 4000


class UnsupportedMediaType(GatewayError):
    code, status, rpc_code = "unsupported_media_type", 415, 4000


class Unprocessable(GatewayError):
    code, status, rpc_code = "unprocessable", 422, 4000


class RateLimited(GatewayError):
    code, status, rpc_code, retryable = "rate_limited", 429, 4029, True

    def __init__(self, message: str, *, retry_after: int = 1, field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.retry_after = max(1, retry_after)


class QueueFull(GatewayError):
    code, status, rpc_code, retryable = "queue_full", 429, 4029, True


class InternalError(GatewayError):
    """What an unknown exception becomes; `error_id` names the log line that holds the traceback."""

    def __init__(self, error_id: str) -> None:
        super().__init__(f"Something failed inside the gateway; the log names it {error_id}.")
        self.error_id = error_id


class UpstreamError(GatewayError):
    code, status, rpc_code, retryable = "upstream_error", 502, 5003, True


class Unavailable(GatewayError):
    code, status, rpc_code, retryable = "unavailable", 503, 5003, True
