"""Close codes of sockets, each with its reason (docs/protocol-native.md, "The WebSocket").

The range tells a client what to do: 4000–4499 reconnect and resume, 4500–4999 do not reconnect.
"""

from __future__ import annotations

from enum import IntEnum


class SocketClose(IntEnum):
    """The base of close codes. A face with codes of its own has a subclass: `DEADLINE = 4408, "connect took too long"`.

    `reason` goes beside the code; a close frame has room for 123 bytes.
    """

    reason: str

    def __new__(cls, code: int, reason: str) -> SocketClose:
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member

    @property
    def resumable(self) -> bool:
        """True for a code after which the client should reconnect and resume."""
        return 4000 <= self < 4500


class CloseCode(SocketClose):
    """The codes of the native socket, and the defaults of every other."""

    RESTART = 4000, "restarting or out of reach of its database, reconnect and resume"
    SLOW_CONSUMER = 4001, "too slow, reconnect and resume"
    TOO_MANY = 4002, "too many connections, try later"
    FAILED = 4003, "failed inside the gateway, reconnect after a pause and resume"
    SESSION_CLOSED = 4500, "the session is closed"
    UNAUTHORIZED = 4501, "the key is no longer good"
    PROTOCOL_VIOLATION = 4502, "a frame is larger than 1 MiB"
