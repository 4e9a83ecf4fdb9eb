"""Errors as OpenAI's and as Anthropic's clients read them: as an answer, and as the last event of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from core_app.jsontext import encode
from inference_app.errors import Refusal


class Dialect(Protocol):
    """How one family of clients is told that something went wrong."""

    def body(self, refusal: Refusal) -> Mapping[str, Any]:
        """The JSON of an answer with an error's status."""

    def event(self, refusal: Refusal) -> bytes:
        """The event that ends a stream which has begun."""


class OpenAI:
    """`{"error":{"message","type","param","code"}}`."""

    _types = {
        401: "authentication_error",
        402: "insufficient_quota",
        403: "permission_error",
        429: "rate_limit_error",
    }

    def body(self, refusal: Refusal) -> Mapping[str, Any]:
        kind = refusal.type or self._types.get(refusal.status) or _fallback(refusal.status, "server_error")
        error = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}
        return {"error": error}

    def event(self, refusal: Refusal) -> bytes:
        return b"data: " + encode(self.body(refusal)) + b"\n\n"


class Anthropic:
    """`{"type":"error","error":{"type","message"}}`."""

    _types = {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        529: "overloaded_error",
    }

    def body(self, refusal: Refusal) -> Mapping[str, Any]:
        kind = self._types.get(refusal.status) or _fallback(refusal.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}

    def event(self, refusal: Refusal) -> bytes:
        return b"event: error\ndata: " + encode(self.body(refusal)) + b"\n\n"


def _fallback(status: int, server: str) -> str:
    return server if status >= 500 else "invalid_request_error"


OPENAI = OpenAI()
ANTHROPIC = Anthropic()
