"""Error objects of each dialect that end a stream after a failure.

They end converted streams. Responses with an error, and streams that pass through, are `inference_app.relay.dialect`'s.
"""

from __future__ import annotations

from inference_app.conversion.steps import Failure, Json

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def openai_error(failure: Failure) -> Json:
    """Returns chat's error chunk; OpenAI's clients raise an exception for a chunk with `error`."""
    kind = "rate_limit_error" if failure.status == 429 else "server_error"
    return {"error": {"message": failure.message, "type": kind, "param": None, "code": failure.code}}


def anthropic_error(failure: Failure) -> Json:
    """Returns Anthropic's `error` event."""
    kind = _ANTHROPIC_TYPES.get(failure.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": failure.message}}


def response_error(failure: Failure) -> Json:
    """Returns the `error` of a failed response.

    Clients know few codes, so everything except a rate limit is a `server_error`.
    """
    code = "rate_limit_exceeded" if failure.status == 429 else "server_error"
    return {"code": code, "message": failure.message}
