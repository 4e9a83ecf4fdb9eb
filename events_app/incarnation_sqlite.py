"""The identity of an SQLite database: a file beside it, of which the database knows inode and time of change.

Each start and each stop replaces the file, and nobody can set the time of change. So a database that does not name the
file beside it was copied, restored or overwritten. While a process serves, the database also names the boot of the
machine: after another boot the power may have failed, and with it commits that were not on the disk yet. After
`kill -9` the system still has all of them, and the generation goes on.
"""

from __future__ import annotations

import os
from pathlib import Path

from django.db import connection

from core_app.database import write_transaction
from events_app.incarnation import generation_next, log_generation
from events_app.models import Incarnation

FILE = "incarnation"
STOPPED = "stopped"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

EXPLANATION = """\
The database beside this file recognises itself by this file. A copy of both is a new database, in which clients that
read further than the copy are told so. Leave it out of backups: 'gateway backup' does.
"""


def begin() -> None:
    """Compares the database with the file, adds an incarnation unless they belong together, and replaces the file."""
    with write_transaction():
        newest = Incarnation.objects.order_by("-n").first()
        known = newest is not None and _goes_on(newest.identity)
        identity = _replace_file(_boot_id())
        if newest is not None and known:
            Incarnation.objects.filter(pk=newest.pk).update(identity=identity)
            return
        generation = 0 if newest is None else generation_next(newest.n)
        Incarnation.objects.create(n=generation, identity=identity)
    if generation:
        log_generation(generation, identity)


def end() -> None:
    """Notes in the database that this process stopped in order; the last write of its life."""
    with write_transaction():
        newest = Incarnation.objects.order_by("-n").first()
        if newest is not None:
            Incarnation.objects.filter(pk=newest.pk).update(identity=_replace_file(STOPPED))


def forget() -> None:
    """Makes the next comparison find another database."""
    with write_transaction():
        Incarnation.objects.update(identity="")


def _goes_on(identity: str) -> bool:
    """Returns True when the database was left by a process that stopped in order or was killed, and by nobody moved."""
    place, _, boot = identity.rpartition(" ")
    return place == _place() and boot in (STOPPED, _boot_id())


def _file() -> Path:
    return Path(connection.settings_dict["NAME"]).with_name(FILE)


def _replace_file(boot: str) -> str:
    """Replaces the file and returns the identity of a database that names it."""
    path = _file()
    new = path.with_name(f"{FILE}.new")
    with new.open("w", encoding="ascii") as file:
        file.write(EXPLANATION)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return f"{_place()} {boot}"


def _place() -> str:
    try:
        found = _file().stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_ino}-{found.st_ctime_ns}"


def _boot_id() -> str:
    """Returns the id of this boot; none where the system has none: there, a killed process begins a generation."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
