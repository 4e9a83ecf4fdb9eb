"""The OpenAPI document of everything that this gateway answers, and the pages that show it."""

from __future__ import annotations

from gateway_project.openapi.document import document

__all__ = ["document"]
