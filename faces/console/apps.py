"""The Django app `faces.console`."""

from __future__ import annotations

from django.apps import AppConfig


class FaceConfig(AppConfig):
    """A face without models: everything that its pages show belongs to other rooms."""

    name = "faces.console"
