"""`gateway backup DIRECTORY`: a copy of an embedded gateway's data, taken while it serves or not.

For PostgreSQL it refers to `pg_dump`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from core_app.command import GatewayCommand
from gateway_project.operations.backup import backup_make


class Command(GatewayCommand):
    help = "Copies the SQLite database, files and secret key into a new directory, while the gateway serves."
    # The service looks for the database itself, in the directory.
    needs_data = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path, help="the target: a new or empty directory")

    def handle(self, *args: Any, directory: Path, **options: Any) -> None:
        if settings.GATEWAY_DATABASE_URL:
            raise CommandError(
                "The data is in PostgreSQL: back it up with 'pg_dump --format=custom', and keep GATEWAY_SECRET_KEY."
            )
        try:
            copied = backup_make(settings.GATEWAY_DATA_DIR, directory.resolve())
        except OSError as error:
            raise CommandError(f"{directory} cannot be written ({error.strerror}).") from None
        self.stdout.write(f"Copied {settings.GATEWAY_DATA_DIR} into {directory}: {copied}.")
        if not copied.key:
            self.stdout.write("The secret key is in GATEWAY_SECRET_KEY, not in the data: keep it with this copy.")
