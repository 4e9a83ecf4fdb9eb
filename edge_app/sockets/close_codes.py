"""Close codes of sockets (docs/protocol-native.md, "WebSocket").

4000–4499 mean reconnect and resume, 4500–4999 mean do not.
"""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """The codes; FAILED is a failure inside the gateway, so the next attempt may succeed."""

    RESTART = 4000
    SLOW_CONSUMER = 4001
    TOO_MANY = 4002
    FAILED = 4003
    SESSION_CLOSED = 4500
    UNAUTHORIZED = 4501
    PROTOCOL_VIOLATION = 4502


REASONS = {
    CloseCode.FAILED: "failed inside the gateway, reconnect after a pause and resume",
    CloseCode.RESTART: "restarting or out of reach of its database, reconnect and resume",
    CloseCode.SLOW_CONSUMER: "too slow, reconnect and resume",
    CloseCode.TOO_MANY: "too many connections, try later",
    CloseCode.SESSION_CLOSED: "the session is closed",
    CloseCode.UNAUTHORIZED: "the key is no longer good",
    CloseCode.PROTOCOL_VIOLATION: "a frame is larger than 1 MiB",
}
"""The reason beside each code; a close frame has room for 123 bytes."""
