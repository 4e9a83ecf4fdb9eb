"""The Django app `faces.agentbus`."""

from __future__ import annotations

from django.apps import AppConfig


class FaceConfig(AppConfig):
    """A face without models: devices and tokens are identity, which is the tenants' room."""

    name = "faces.agentbus"
