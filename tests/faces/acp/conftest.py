"""The gateway behind a server of its own, and an editor that speaks ACP by the library's own client."""

from __future__ import annotations

from tests.faces.native.conftest import api, gateway, server

__all__ = ["api", "gateway", "server"]
