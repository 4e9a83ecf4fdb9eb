"""The Django app `faces.responses`."""

from __future__ import annotations

from django.apps import AppConfig


class FaceConfig(AppConfig):
    """A face without models: `responses_app` has what is stored."""

    name = "faces.responses"
