"""Former home of `edge_app.openapi.Operation`, for modules that still import it from here."""

from __future__ import annotations

from edge_app.openapi import Operation, parameter

__all__ = ["Operation", "parameter"]
