"""Close codes of the socket (docs/responses.md, "Close codes"), on which OpenAI's clients reconnect or not."""

from __future__ import annotations

from edge_app.sockets.close_codes import CloseCode, SocketClose


class ResponsesClose(SocketClose):
    """The codes that the native socket does not have. OpenAI's clients know only codes of the standard."""

    IDLE = 1001, "nothing was asked for too long"
    TOO_LARGE = 1009, "a frame is larger than this socket takes"
    FAILED = 1011, "failed inside the gateway"
    RESTART = 1012, "restarting or out of reach of its database"
    TOO_MANY = 1013, "too many connections, try later"


STANDARD = {
    CloseCode.RESTART: ResponsesClose.RESTART,
    CloseCode.FAILED: ResponsesClose.FAILED,
    CloseCode.TOO_MANY: ResponsesClose.TOO_MANY,
}
"""The codes that stand for those of every socket."""


def standard_code(code: SocketClose) -> SocketClose:
    """Returns the code that OpenAI's clients understand, where there is one."""
    return STANDARD.get(code, code)  # type: ignore[call-overload,no-any-return]
