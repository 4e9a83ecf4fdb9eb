"""Errors as the Codelab protocol has them (docs/protocol-codelab.md, "Errors")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app.errors import (
    BadRequest,
    GatewayError,
    SessionNotFound,
    Unprocessable,
    UpstreamError,
)
from edge_app.http.errors import error_body
from edge_app.rpc import ErrorTable

INVALID_FORMAT = "INVALID_FORMAT"
INVALID_SESSION = "INVALID_SESSION"
AGENT_DOWN = "AGENT_DOWN"
TOOL_TIMEOUT = "TOOL_TIMEOUT"

_CODES: ErrorTable[str | None] = ErrorTable(
    {
        GatewayError: None,
        BadRequest: INVALID_FORMAT,
        Unprocessable: INVALID_FORMAT,
        SessionNotFound: INVALID_SESSION,
        UpstreamError: AGENT_DOWN,
    }
)


def frame_code(error: GatewayError) -> str:
    """Returns the code of an `error` frame: the protocol's own, else the native code in capitals."""
    return _CODES.code(error) or error.code.upper()


def codelab_error_body(scope: Any, error: GatewayError) -> Mapping[str, Any]:
    """Returns `{"detail", "code"}`, the body of an HTTP error."""
    native = error_body(error)
    return {"detail": native["message"], "code": frame_code(error)}
