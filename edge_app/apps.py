"""The Django app `edge_app`."""

from __future__ import annotations

from django.apps import AppConfig


class Config(AppConfig):
    """A room without models."""

    name = "edge_app"
