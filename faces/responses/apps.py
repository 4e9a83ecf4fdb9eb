"""The Django app `faces.responses`."""

from __future__ import annotations

from django.apps import AppConfig


class FaceConfig(AppConfig):
    """A face without models: nothing is stored yet."""

    name = "faces.responses"
