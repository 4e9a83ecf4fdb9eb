"""`manage.py backup DIRECTORY`: a copy of an embedded gateway's data, taken while it serves or not.

For PostgreSQL it refers to `pg_dump`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway_project.operations.backup import KEY_FILE, backup_make


class Command(BaseCommand):
    help = "Copies the SQLite database and the secret key into a new directory, while the gateway serves."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path, help="the target: a new or empty directory")

    def handle(self, *args: Any, directory: Path, **options: Any) -> None:
        if settings.GATEWAY_DATABASE_URL:
            raise CommandError(
                "The data is in PostgreSQL: back it up with 'pg_dump --format=custom', and keep GATEWAY_SECRET_KEY."
            )
        try:
            size = backup_make(settings.GATEWAY_DATA_DIR, directory.resolve())
        except (ImproperlyConfigured, OSError) as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(f"Copied the database ({size:,} bytes) into {directory}.")
        if not (directory / KEY_FILE).exists():
            self.stdout.write("The secret key is in GATEWAY_SECRET_KEY, not in the data: keep it with this copy.")
