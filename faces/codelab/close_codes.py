"""Close codes of the Codelab socket (docs/protocol-codelab.md, "Close codes")."""

from __future__ import annotations

from edge_app.sockets.close_codes import SocketClose


class CodelabClose(SocketClose):
    """The codes that the native socket does not have."""

    INVALID_SESSION = 4504, "the session cannot be used"
