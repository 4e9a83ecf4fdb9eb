"""Backup of an embedded gateway while it serves.

SQLite's online backup copies the database in one step, so the copy is of one moment and later commits are not in it.
The secret key is copied too, because sealed secrets cannot be opened without it, and the files of spaces, whose rows
are in the database. The copy is a data directory: a gateway can start on it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

DATABASE = "gateway.sqlite3"
KEY_FILE = "secret_key"
FILES = "artifacts"
BUSY_SECONDS = 60.0


def backup_make(data: Path, target: Path) -> int:
    """Copies the data directory into `target`, which is created or must be empty; returns the database's size in bytes.

    Raises ImproperlyConfigured for a target that is not empty, and for a directory without a database.
    """
    if not (data / DATABASE).exists():
        raise ImproperlyConfigured(f"There is no database in {data}: nothing was ever served from there.")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise ImproperlyConfigured(f"{target} is not empty: a backup goes into a directory of its own.")
    # Before and after: a file that the copied database names may be deleted, or have been written, meanwhile.
    _copy_files(data / FILES, target / FILES)
    _copy_database(data / DATABASE, target / DATABASE)
    _copy_files(data / FILES, target / FILES)
    if (data / KEY_FILE).exists():
        _write_file(target / KEY_FILE, (data / KEY_FILE).read_bytes())
    _sync(target)
    return (target / DATABASE).stat().st_size


def _copy_files(source: Path, target: Path) -> None:
    """Copies the files that the target does not have. Files never change; they may be deleted meanwhile."""
    for path in source.rglob("*"):
        copy = target / path.relative_to(source)
        if path.is_file() and not copy.exists():
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                _write_file(copy, path.read_bytes())


def _copy_database(source: Path, target: Path) -> None:
    """Copies under another name until the copy is complete: an interrupted one is never taken for a backup."""
    partial = target.with_suffix(".partial")
    _write_file(partial, b"")
    address = f"{source.as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as here,
        closing(sqlite3.connect(partial)) as there,
    ):
        # All pages in one read transaction; in steps, every commit of the server would restart the copy.
        here.backup(there)
        forget_incarnation(there)
        # The copy is in WAL mode too: this moves its journal into the file that is renamed.
        there.execute("PRAGMA journal_mode=DELETE")
        found = there.execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise ImproperlyConfigured(f"The copy of {source} is damaged: {found[0]}")
    _sync(partial)
    partial.rename(target)


def forget_incarnation(copy: sqlite3.Connection) -> None:
    """Makes the copy begin a new generation when it is served (`events_app.incarnation_sqlite`)."""
    with copy, contextlib.suppress(sqlite3.OperationalError):  # of a version before generations
        copy.execute("UPDATE events_app_incarnation SET identity = ''")


def _write_file(path: Path, content: bytes) -> None:
    """Creates a file that only its owner can read, from the first moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
