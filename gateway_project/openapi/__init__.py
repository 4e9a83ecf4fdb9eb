"""The OpenAPI document of all faces. `gateway_project.http.openapi_pages` serves it."""

from __future__ import annotations

from gateway_project.openapi.document import document

__all__ = ["document"]
