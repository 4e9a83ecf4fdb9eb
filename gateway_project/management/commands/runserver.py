"""`manage.py runserver`: daphne, for development. It reloads code and serves the same application as `serve`.

It shows no first key and has no back-pressure: only a developer's own clients should reach it.
"""

from __future__ import annotations

from typing import Any

from daphne.management.commands.runserver import Command as DaphneCommand
from django.conf import settings
from django.core.management.base import CommandError

from gateway_project.process.process_lock import AlreadyServed, lock_deployment


class Command(DaphneCommand):  # type: ignore[misc]  # daphne is untyped
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
