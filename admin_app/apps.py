"""The app `admin_app`."""

from __future__ import annotations

from django.apps import AppConfig


class Config(AppConfig):
    """A room without models."""

    name = "admin_app"
