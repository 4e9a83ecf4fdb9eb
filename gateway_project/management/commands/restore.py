"""`gateway restore DIRECTORY`: puts a backup into an empty data directory.

For PostgreSQL it refers to `pg_restore`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from core_app.command import GatewayCommand
from gateway_project.operations.backup import backup_restore


class Command(GatewayCommand):
    help = "Copies a backup into GATEWAY_DATA_DIR, which must have no database yet. Clients are told of the step back."
    needs_data = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path, help="the backup: a directory that 'gateway backup' made")

    def handle(self, *args: Any, directory: Path, **options: Any) -> None:
        if settings.GATEWAY_DATABASE_URL:
            raise CommandError(
                "The data is in PostgreSQL: restore it with 'pg_restore --no-owner', with the GATEWAY_SECRET_KEY of"
                " that time."
            )
        try:
            copied = backup_restore(directory.resolve(), settings.GATEWAY_DATA_DIR)
        except OSError as error:
            raise CommandError(f"{settings.GATEWAY_DATA_DIR} cannot be written ({error.strerror}).") from None
        self.stdout.write(f"Restored {directory} into {settings.GATEWAY_DATA_DIR}: {copied}.")
        if not copied.key and not os.environ.get("GATEWAY_SECRET_KEY"):
            self.stdout.write("The backup has no secret key: set GATEWAY_SECRET_KEY to the key of that time.")
