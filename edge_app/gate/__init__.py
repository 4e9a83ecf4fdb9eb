"""The door of the process: what every HTTP request and WebSocket passes before Django or a consumer sees it."""

from __future__ import annotations

from edge_app.gate.exchange import OPEN_PATHS
from edge_app.gate.gate import Gate

__all__ = ["OPEN_PATHS", "Gate"]
