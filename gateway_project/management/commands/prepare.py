"""`manage.py prepare`: what a start does before it serves, and nothing else: migrations, then keys.

For deployments where one process of its own does it before any other starts. `serve` does the same by itself, so
running this is never needed, and running it twice changes nothing.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from gateway_project.configuration.checks import TAG
from gateway_project.management.commands.serve import database_reach, prepare
from gateway_project.process.announcement import first_secrets


class Command(BaseCommand):
    help = "Applies migrations, seeds GATEWAY_API_KEYS or makes the first key, and ends."
    requires_system_checks = (TAG,)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            database_reach(settings.GATEWAY_DATABASE_URL)
            first = prepare()
        except ImproperlyConfigured as refusal:
            raise CommandError(str(refusal)) from None
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {type(error).__name__}.") from None
        said = ["The database has this version's schema; the keys are what the settings say."]
        self.stdout.write("\n".join(said + (first_secrets(first) if first is not None else [])))
