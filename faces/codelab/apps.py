"""The Django app `faces.codelab`."""

from __future__ import annotations

from django.apps import AppConfig


class FaceConfig(AppConfig):
    """A face without models: its tool calls are those of the tools' room."""

    name = "faces.codelab"
