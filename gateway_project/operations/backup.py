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
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

DATABASE = "gateway.sqlite3"
KEY_FILE = "secret_key"
FILES = "artifacts"
BUSY_SECONDS = 60.0
COUNTED = ("tenants_app_tenant", "sessions_app_agentsession", "events_app_event")
"""Tables without which a database is no gateway's, and whose rows a copy reports."""


@dataclass(frozen=True, slots=True)
class Copied:
    """The content of a copied data directory. `key`: the secret key is in it."""

    size: int
    tenants: int
    sessions: int
    events: int
    files: int
    key: bool

    def __str__(self) -> str:
        return (
            f"{self.tenants} tenants, {self.sessions} sessions, {self.events} events and {self.files} files"
            f" ({self.size:,} bytes of database)"
        )


def backup_make(data: Path, target: Path) -> Copied:
    """Copies the data directory into `target`, which is created or must be empty; returns what was copied.

    Raises ImproperlyConfigured for a target that is not empty, and for a directory without a database or with one that
    no gateway has made its tables in.
    """
    data_check(data)
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
    return _content(target)


def backup_restore(source: Path, data: Path) -> Copied:
    """Copies a backup into the data directory, which has no database yet; returns what was copied. The copy is complete
    or absent. Raises ImproperlyConfigured."""
    data_check(source)
    if (data / DATABASE).exists():
        raise ImproperlyConfigured(
            f"There is a gateway in GATEWAY_DATA_DIR, '{data}', already: stop it and move that directory away first."
        )
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (key := source / KEY_FILE).exists():
        # A command before this one may have left a key that has sealed nothing.
        (data / KEY_FILE).unlink(missing_ok=True)
        _write_file(data / KEY_FILE, key.read_bytes())
    _copy_files(source / FILES, data / FILES)
    _copy_database(source / DATABASE, data / DATABASE)
    _sync(data)
    return _content(data)


def data_check(directory: Path) -> None:
    """Raises ImproperlyConfigured unless the directory has the database of a gateway."""
    database = directory / DATABASE
    if not database.exists():
        raise ImproperlyConfigured(
            f"There is no database in '{directory}': nothing was ever served from there. Set GATEWAY_DATA_DIR to the"
            " directory that the gateway serves from."
        )
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as file:
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise ImproperlyConfigured(f"'{database}' cannot be read: {error}.") from None
    if not set(COUNTED) <= tables:
        raise ImproperlyConfigured(
            f"The database in '{directory}' is empty: no gateway was ever served from there. Set GATEWAY_DATA_DIR to"
            " the directory that the gateway serves from."
        )


def _content(directory: Path) -> Copied:
    with closing(sqlite3.connect(f"{(directory / DATABASE).as_uri()}?mode=ro", uri=True)) as file:
        counts = [int(file.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]) for table in COUNTED]  # noqa: S608
    files = sum(path.is_file() for path in (directory / FILES).rglob("*"))
    tenants, sessions, events = counts
    return Copied(
        size=(directory / DATABASE).stat().st_size,
        tenants=tenants,
        sessions=sessions,
        events=events,
        files=files,
        key=(directory / KEY_FILE).exists(),
    )


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
