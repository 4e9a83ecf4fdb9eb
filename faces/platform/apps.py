"""The Django app `faces.platform`."""

from __future__ import annotations

from django.apps import AppConfig


class FaceConfig(AppConfig):
    """A face without models."""

    name = "faces.platform"
