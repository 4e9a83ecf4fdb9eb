"""The OpenAPI document of everything that this gateway answers; `gateway_project.http.openapi_pages` shows it."""

from __future__ import annotations

from gateway_project.openapi.document import document

__all__ = ["document"]
