"""`manage.py prepare`: the part of a start before serving: migrations, then keys.

For deployments that do this as a step of its own before any process starts. `serve` does the same by itself, so this
command is never needed, and running it twice changes nothing.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from gateway_project.configuration.checks import TAG
from gateway_project.management.commands.serve import prepare, reach_database
from gateway_project.process.announcement import first_secrets


class Command(BaseCommand):
    help = "Applies migrations, seeds GATEWAY_API_KEYS or issues the first key, and ends."
    requires_system_checks = (TAG,)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            reach_database(settings.GATEWAY_DATABASE_URL)
            first = prepare()
        except ImproperlyConfigured as refusal:
            raise CommandError(str(refusal)) from None
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {type(error).__name__}.") from None
        lines = ["The database has this version's schema; the keys are those of the settings."]
        self.stdout.write("\n".join(lines + (first_secrets(first) if first is not None else [])))
