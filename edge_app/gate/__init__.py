"""The gate in front of every HTTP request and WebSocket: host, path, key, rate limit and body size, before Django or a
consumer sees anything."""

from __future__ import annotations

from edge_app.gate.gate import Gate
from edge_app.gate.paths import PathTable

__all__ = ["Gate", "PathTable"]
