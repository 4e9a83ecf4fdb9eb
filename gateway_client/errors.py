"""The errors of the client: one tree, with a class for every error code of the native protocol.

GatewayError
    APIError                the gateway refused the request
        BadRequest, Unauthorized, QuotaExceeded, Forbidden, NotFound (SessionNotFound, TaskNotFound, SpaceNotFound,
        AgentNotFound, ArtifactNotFound), MethodNotAllowed, Conflict, Gone, PayloadTooLarge, UnsupportedMediaType,
        Unprocessable, RateLimited (QueueFull), InternalError, UpstreamError, Unavailable (NoAgentAvailable)
    ConnectionFailed        no response, however often the request was repeated
    WaitTimeout             the caller's own time-out has passed
    RunAborted              a run ended without an answer
    TaskFailed              a task ended without a result
    InvalidSignature        a webhook message is not from the gateway
    RPCError                a request on the RPC socket was refused
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class GatewayError(Exception):
    """Anything that the client raises on purpose."""


class APIError(GatewayError):
    """A refusal by the gateway. `field` names the field at fault, `error_id` is in the gateway's log, `retry_after` is
    a number of seconds."""

    code = "error"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        field: str | None = None,
        error_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code or type(self).code
        self.field = field
        self.error_id = error_id
        self.retry_after = retry_after


class BadRequest(APIError):
    code = "bad_request"


class Unauthorized(APIError):
    code = "unauthorized"


class QuotaExceeded(APIError):
    code = "quota_exceeded"


class Forbidden(APIError):
    code = "forbidden"


class NotFound(APIError):
    code = "not_found"


class SessionNotFound(NotFound):
    code = "session_not_found"


class TaskNotFound(NotFound):
    code = "TASK_NOT_FOUND"


class SpaceNotFound(NotFound):
    code = "SPACE_NOT_FOUND"


class AgentNotFound(NotFound):
    code = "AGENT_NOT_FOUND"


class ArtifactNotFound(NotFound):
    code = "ARTIFACT_NOT_FOUND"


class MethodNotAllowed(APIError):
    code = "method_not_allowed"


class Conflict(APIError):
    code = "conflict"


class Gone(APIError):
    code = "gone"


class PayloadTooLarge(APIError):
    code = "payload_too_large"


class UnsupportedMediaType(APIError):
    code = "unsupported_media_type"


class Unprocessable(APIError):
    code = "unprocessable"


class RateLimited(APIError):
    code = "rate_limited"


class QueueFull(RateLimited):
    code = "queue_full"


class InternalError(APIError):
    code = "internal_error"


class UpstreamError(APIError):
    code = "upstream_error"


class Unavailable(APIError):
    code = "unavailable"


class NoAgentAvailable(Unavailable):
    """No rule and no default leads the task to an agent."""

    code = "NO_AGENT_AVAILABLE"


class TaskFailed(GatewayError):
    """A task ended without a result. `code` is its `error.code`, as `EXECUTION_ERROR`, `TIMEOUT` or `CANCELLED`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class ConnectionFailed(GatewayError):
    """The gateway could not be reached, or did not respond, for as long as the client may try."""


class WaitTimeout(GatewayError):
    """The caller's time-out passed first. What was asked for may still happen."""


class RunAborted(GatewayError):
    """A run ended with `agent_abort`. `reason` is its reason, `message` its explanation."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}" if message else reason)
        self.reason = reason
        self.message = message


class InvalidSignature(GatewayError):
    """The body, the headers and the secret of a webhook message do not belong together, or the message is too old."""


class RPCError(GatewayError):
    """A refusal on the RPC socket, with its numeric `code` and `details`."""

    def __init__(self, code: int, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = dict(details or {})


BY_CODE: Mapping[str, type[APIError]] = {
    kind.code: kind
    for kind in (
        BadRequest,
        Unauthorized,
        QuotaExceeded,
        Forbidden,
        NotFound,
        SessionNotFound,
        MethodNotAllowed,
        Conflict,
        Gone,
        PayloadTooLarge,
        UnsupportedMediaType,
        Unprocessable,
        RateLimited,
        QueueFull,
        InternalError,
        UpstreamError,
        Unavailable,
    )
}

BY_MESH_CODE: Mapping[str, type[APIError]] = {
    kind.code: kind for kind in (TaskNotFound, SpaceNotFound, AgentNotFound, ArtifactNotFound, NoAgentAvailable)
}
"""The codes of the AgentMesh protocol that the status does not tell already."""

_BY_STATUS: Mapping[int, type[APIError]] = {
    400: BadRequest,
    401: Unauthorized,
    402: QuotaExceeded,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    409: Conflict,
    410: Gone,
    413: PayloadTooLarge,
    415: UnsupportedMediaType,
    422: Unprocessable,
    429: RateLimited,
    502: UpstreamError,
    503: Unavailable,
    504: Unavailable,
}


def error_from_response(status: int, body: object, retry_after: float | None = None) -> APIError:
    """Makes the error of a response. A proxy's body, which is not the gateway's, is judged by its status."""
    fields = body if isinstance(body, dict) else {}
    if isinstance(fields.get("error"), dict):  # the AgentMesh protocol, and those of OpenAI and Anthropic
        fields = fields["error"]
        fields = {**fields, "error": fields.get("code") or fields.get("type"), "errorId": fields.get("error_id")}
    code = fields.get("error") if isinstance(fields.get("error"), str) else None
    kind = BY_CODE.get(code or "") or BY_MESH_CODE.get(code or "") or _BY_STATUS.get(status)
    kind = kind or (InternalError if status >= 500 else APIError)
    return kind(
        str(fields.get("message") or f"The gateway responded with status {status}."),
        status=status,
        code=code,
        field=fields.get("field"),
        error_id=fields.get("errorId"),
        retry_after=retry_after,
    )
