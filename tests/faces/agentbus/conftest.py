"""The gateway behind a server of its own, and clients of the Agentbus socket."""

from __future__ import annotations

from tests.faces.native.conftest import api, gateway, server

__all__ = ["api", "gateway", "server"]
