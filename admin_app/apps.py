"""Django's configuration of the app."""

from __future__ import annotations

from django.apps import AppConfig


class Config(AppConfig):
    """The app has no models."""

    name = "admin_app"
