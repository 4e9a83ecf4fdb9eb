"""One client for the two transports of an action, REST and the socket, so that a test runs over both."""

from __future__ import annotations

from typing import Any

from tests.faces.native.live_server import SocketClient
from tests.gateway_harness import Client

TRANSPORTS = ("rest", "socket")
_PATHS = {
    "approve": "approve",
    "reject": "reject",
    "respond": "respond",
    "tool_result": "tool-results",
    "abort": "abort",
    "steer": "steer",
    "prompt": "prompt",
}


class ActionClient:
    """Performs actions over one transport."""

    def __init__(self, transport: str, client: Client, socket: SocketClient, session: str) -> None:
        self.transport = transport
        self._client = client
        self._socket = socket
        self._session = session

    async def ask(self, action: str, **fields: Any) -> dict[str, Any]:
        """Returns the result of an action, or `{"error"}` alone."""
        if self.transport == "socket":
            answer = await self._socket.ask(action, **fields)
            assert answer.pop("action") == action
            ok = answer.pop("ok")
        else:
            response = await self._client.post(f"/v1/sessions/{self._session}/{_PATHS[action]}", fields)
            answer, ok = response.json, response.status < 300
        return answer if ok else {"error": answer["error"]}
