"""The app `gateway_project`: commands that start processes, and checks of the settings."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import register

from gateway_project.configuration import checks
from gateway_project.process import lean_imports

# Before the apps listed after this one import the same libraries.
lean_imports.load(redis=bool(settings.GATEWAY_REDIS_URL))


class GatewayProjectConfig(AppConfig):
    """Registers the checks."""

    name = "gateway_project"

    def ready(self) -> None:
        register(checks.deployment, checks.TAG)
        register(checks.values, checks.TAG)
