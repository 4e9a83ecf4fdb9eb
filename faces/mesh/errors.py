"""Errors of the AgentMesh protocol (docs/protocol-agentmesh.md, "Errors")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    GatewayError,
    Gone,
    InternalError,
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
from edge_app.rpc import ErrorTable


class TaskNotFound(NotFound):
    code = "task_not_found"


class SpaceNotFound(NotFound):
    code = "space_not_found"


class AgentNotFound(NotFound):
    code = "agent_not_found"


class ArtifactNotFound(NotFound):
    code = "artifact_not_found"


class NoAgentAvailable(Unavailable):
    code = "no_agent_available"


INTERNAL_ERROR = "INTERNAL_ERROR"

CODES: ErrorTable[str] = ErrorTable(
    {
        GatewayError: INTERNAL_ERROR,
        BadRequest: "INVALID_REQUEST",
        Unprocessable: "INVALID_REQUEST",
        UnsupportedMediaType: "INVALID_REQUEST",
        Unauthorized: "UNAUTHORIZED",
        Forbidden: "FORBIDDEN",
        NotFound: "NOT_FOUND",
        Gone: "NOT_FOUND",
        TaskNotFound: "TASK_NOT_FOUND",
        SpaceNotFound: "SPACE_NOT_FOUND",
        AgentNotFound: "AGENT_NOT_FOUND",
        ArtifactNotFound: "ARTIFACT_NOT_FOUND",
        MethodNotAllowed: "METHOD_NOT_ALLOWED",
        Conflict: "CONFLICT",
        PayloadTooLarge: "PAYLOAD_TOO_LARGE",
        RateLimited: "RATE_LIMITED",
        QueueFull: "RATE_LIMITED",
        QuotaExceeded: "QUOTA_EXCEEDED",
        NoAgentAvailable: "NO_AGENT_AVAILABLE",
        Unavailable: "UNAVAILABLE",
        UpstreamError: "UPSTREAM_ERROR",
    }
)
"""The code of every error that a client may meet."""

TASK_FAILED, EXECUTION_ERROR, TIMEOUT, CANCELLED = "TASK_FAILED", "EXECUTION_ERROR", "TIMEOUT", "CANCELLED"
"""The codes of a failed or cancelled task's `error`. TASK_FAILED is also the answer when a task cannot be stored."""

_TASK_PATHS = ("/tasks", "/v1/tasks")


def mesh_error_body(scope: Any, error: GatewayError) -> Mapping[str, Any]:
    """Returns `{"error": {"code", "message"}}`; `field` and `error_id` where the error has them."""
    native = error_body(error)
    shown = {"code": CODES.code(error), "message": native["message"]}
    if isinstance(error, InternalError) and scope is not None and scope.get("path") in _TASK_PATHS:
        shown["code"] = TASK_FAILED
    if "field" in native:
        shown["field"] = native["field"]
    if "errorId" in native:
        shown["error_id"] = native["errorId"]
    return {"error": shown}
