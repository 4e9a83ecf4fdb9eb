"""The two ways to settle what a run waits for: REST and the socket, spoken to alike."""

from __future__ import annotations

from typing import Any

from tests.faces.native.served import Socket
from tests.gateway_harness import Client

DOORS = ("rest", "socket")
_PATHS = {
    "approve": "approve",
    "reject": "reject",
    "respond": "respond",
    "tool_result": "tool-results",
    "abort": "abort",
    "steer": "steer",
    "prompt": "prompt",
}


class Door:
    """One of them. An answer is the result, or `{"error"}` alone."""

    def __init__(self, kind: str, client: Client, socket: Socket, session: str) -> None:
        self.kind = kind
        self._client = client
        self._socket = socket
        self._session = session

    async def ask(self, action: str, **fields: Any) -> dict[str, Any]:
        """The action's result."""
        if self.kind == "socket":
            answer = await self._socket.ask(action, **fields)
            assert answer.pop("action") == action
            ok = answer.pop("ok")
        else:
            whole = await self._client.post(f"/v1/sessions/{self._session}/{_PATHS[action]}", fields)
            answer, ok = whole.json, whole.status < 300
        return answer if ok else {"error": answer["error"]}
