"""A copy of everything that an embedded gateway keeps, taken while it serves.

The database is copied by SQLite's own online backup in one step, so the copy is of one moment and what is committed
meanwhile comes after it; the secret key goes with it, because sealed secrets are nothing without it. The copy is a
data directory: a gateway starts on it.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

DATABASE = "gateway.sqlite3"
KEY_FILE = "secret_key"
BUSY_SECONDS = 60.0


def backup_make(data: Path, target: Path) -> int:
    """Copies the data directory into `target`, which is made or must be empty; how many bytes the database has.

    Raises ImproperlyConfigured for a target that has something in it, and for a directory without a database.
    """
    if not (data / DATABASE).exists():
        raise ImproperlyConfigured(f"There is no database in {data}: nothing was ever served from there.")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise ImproperlyConfigured(f"{target} is not empty: a backup goes into a directory of its own.")
    _database_copy(data / DATABASE, target / DATABASE)
    if (data / KEY_FILE).exists():
        _written(target / KEY_FILE, (data / KEY_FILE).read_bytes())
    _to_disk(target)
    return (target / DATABASE).stat().st_size


def _database_copy(source: Path, target: Path) -> None:
    """Under another name until it is whole: a copy that was cut off is never taken for a backup."""
    partial = target.with_suffix(".partial")
    _written(partial, b"")
    address = f"{source.as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as here,
        closing(sqlite3.connect(partial)) as there,
    ):
        # All pages in one read transaction; in steps, every commit of the server would begin the copy anew.
        here.backup(there)
        # The copy is in WAL mode too: what is in its journal goes into the file that is moved.
        there.execute("PRAGMA journal_mode=DELETE")
        found = there.execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise ImproperlyConfigured(f"The copy of {source} is damaged: {found[0]}")
    _to_disk(partial)
    partial.rename(target)


def _written(path: Path, content: bytes) -> None:
    """A new file that only its owner reads, from the first moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
