"""The lock of deployments that one process may serve: a data directory with SQLite, or PostgreSQL without Redis.

Events of a second process would not reach the followers of the first, so it is refused before it starts. The lock lives
as long as the process, and nothing is left of it when the process is killed.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

_DATABASE_LOCK = "gateway_project.process.database_server.lock"


class AlreadyServed(Exception):
    """Another process serves the deployment; the text says which setting to change."""


class ProcessLock:
    """A lock that is held until it is released, or until the process ends."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def release(self) -> None:
        """Releases the lock before the process ends."""
        self._held.close()


def lock_deployment() -> ProcessLock | None:
    """Takes the lock that this deployment needs; None when several processes may serve it.

    Raises AlreadyServed, and ImproperlyConfigured when the lock file cannot be written.
    """
    if not settings.GATEWAY_DATABASE_URL:
        return lock_directory(settings.GATEWAY_DATA_DIR)
    if not settings.GATEWAY_REDIS_URL:
        return lock_database(settings.GATEWAY_DATABASE_URL)
    return None


def lock_directory(directory: Path) -> ProcessLock:
    """Takes the exclusive lock on a data directory. The file contains the holder's process id, for people."""
    try:
        file = (directory / "lock").open("a+", encoding="ascii")
    except OSError as error:
        raise ImproperlyConfigured(
            f"GATEWAY_DATA_DIR is '{directory}', which cannot be written ({error.strerror})."
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another one"
        file.close()
        raise AlreadyServed(
            f"Process {holder} serves {directory} already and SQLite takes one process:"
            " stop it, choose another GATEWAY_DATA_DIR, or set GATEWAY_DATABASE_URL and GATEWAY_REDIS_URL."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return ProcessLock(file)


def lock_database(url: str) -> ProcessLock:
    """Takes a lock that PostgreSQL keeps for one connection: without Redis, events reach followers of their own process
    only."""
    connection = import_string(_DATABASE_LOCK)(url)
    if connection is None:
        raise AlreadyServed(
            "Another process serves the database of GATEWAY_DATABASE_URL: set GATEWAY_REDIS_URL for both, so that"
            " the events of one reach the followers of the other."
        )
    return ProcessLock(connection)
