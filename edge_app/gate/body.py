"""Former name of `edge_app.http.body`, for modules that still import it."""

from __future__ import annotations

from edge_app.http.asgi import ClientGone, header
from edge_app.http.body import read_body

__all__ = ["ClientGone", "header", "read_body"]
