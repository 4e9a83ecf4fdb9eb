"""`gateway prepare`: the part of a start before serving: migrations, then keys.

For deployments that do this as a step of its own before any process starts. `serve` does the same by itself, so this
command is never needed, and running it twice changes nothing.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from core_app.command import GatewayCommand
from gateway_project.management.commands.serve import prepare, reach_database
from gateway_project.process.announcement import first_secrets


class Command(GatewayCommand):
    help = "Applies migrations, seeds GATEWAY_API_KEYS or issues the first key, and ends."
    needs_data = False
    checks_settings = True

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            reach_database(settings.GATEWAY_DATABASE_URL)
            first = prepare()
        except ImproperlyConfigured as refusal:
            raise CommandError(str(refusal)) from None
        lines = ["The database has this version's schema; the keys are those of the settings."]
        self.stdout.write("\n".join(lines + (first_secrets(first) if first is not None else [])))
