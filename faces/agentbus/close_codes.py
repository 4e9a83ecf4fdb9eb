"""Close codes of the Agentbus socket (docs/protocol-agentbus.md, "Close codes")."""

from __future__ import annotations

from edge_app.sockets.close_codes import SocketClose


class AgentbusClose(SocketClose):
    """The codes that the native socket does not have."""

    NORMAL = 1000, "disconnected"
    MESSAGE_TOO_BIG = 1009, "the message is larger than this connection may send"
    UNAUTHORIZED = 4401, "4501: five failed connects, or the credential is no longer good"
    HANDSHAKE_DEADLINE = 4408, "no connect within the deadline"
    IDLE = 4409, "no frame for too long, reconnect and resume"
