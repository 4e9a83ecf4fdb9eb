"""`manage.py runserver`: daphne, for development. It reloads code and serves the same application as `serve`.

It shows no first key and has no back-pressure: only a developer's own clients should reach it. daphne is in the
development's lock file alone, so production has no second web server; there the command says so and ends.
"""

from __future__ import annotations

import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway_project.process.process_lock import AlreadyServed, lock_deployment

try:
    from daphne.management.commands.runserver import Command as DaphneCommand
except ModuleNotFoundError:

    class Command(BaseCommand):
        help = "Serves the gateway for development; needs daphne, which is not installed."
        requires_system_checks = ()

        def add_arguments(self, parser: CommandParser) -> None:
            parser.add_argument("rest", nargs=argparse.REMAINDER)

        def handle(self, *args: Any, **options: Any) -> None:
            raise CommandError(
                "runserver needs daphne, which is installed for development only (requirements-dev.lock):"
                " run 'gateway serve'."
            )

else:

    class Command(DaphneCommand):  # type: ignore[misc,no-redef]  # daphne is untyped
        help = "Serves the gateway for development, with daphne."
        default_addr = settings.GATEWAY_HOST
        default_port = str(settings.GATEWAY_PORT)

        def inner_run(self, *args: Any, **options: Any) -> None:
            try:
                lock = lock_deployment()
            except AlreadyServed as refusal:
                raise CommandError(str(refusal)) from None
            super().inner_run(*args, **options)
            if lock is not None:
                lock.release()
