"""Django's handle on the wiring: it holds the commands that start processes and the checks of the settings."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from gateway_project import checks


class GatewayProjectConfig(AppConfig):
    name = "gateway_project"

    def ready(self) -> None:
        register(checks.deployment, checks.TAG)
        register(checks.values, checks.TAG)
