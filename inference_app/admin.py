"""The admin sections of the model gateway, for Django's discovery."""

from __future__ import annotations

from inference_app.operator import admin as sections

__all__ = ["sections"]
