"""Django's settings of the database, and how many connections to PostgreSQL a process opens."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

OTHER_CONNECTIONS = 8
"""Connections beside one for each database thread and one for each request thread: the flusher's, the lease keeper's,
the sweep's …"""

QUEUE_CONNECTIONS = 4
"""Connections that a worker's queue opens beside those."""

APPLICATION = "agent-gateway "

_PATIENCE = {
    # psycopg's own limit is 130 s.
    "connect_timeout": 5,
    # A server whose machine is gone sends nothing; the system's own limits are a quarter of an hour and two hours.
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Parameters of libpq; those in GATEWAY_DATABASE_URL take precedence."""


def sqlite(file: Path, *, test_file: Path | str, synchronous: str) -> dict[str, Any]:
    """Returns the settings of a database in `file`, in WAL mode."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # Read-then-write in deferred mode fails with "database is locked" under load.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};"
            " PRAGMA cache_size=-16000; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=268435456;",
        },
        # Django's default test database is shared-cache memory, which has no WAL mode.
        "TEST": {"NAME": test_file},
    }


def postgresql(url: str, *, db_threads: int, request_threads: int, lease_seconds: float) -> dict[str, Any]:
    """Returns the settings of the database at `url`, with a connection pool for all threads of a process.

    Raises ImproperlyConfigured, with a text that never shows the password.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured("GATEWAY_DATABASE_URL takes postgresql://…; leave it empty for SQLite.")
    try:
        # libpq quotes what is wrong in a password's percent-encoding, password included.
        if re.search("%(?![0-9A-Fa-f]{2})", url):
            raise ValueError(url)
        parsed: dict[str, Any] = dict(dj_database_url.parse(url))
    except ValueError:
        raise ImproperlyConfigured(
            "GATEWAY_DATABASE_URL is no address: it takes postgresql://user:password@host:5432/name, where"
            " / @ : # ? % in a password are percent-encoded (%2F %40 %3A %23 %3F %25)."
        ) from None
    # By name: an embedded gateway does not need the library, which costs a start 0.07 s.
    connection_class = import_string("core_app.postgresql.PromptConnection")
    size = db_threads + request_threads + OTHER_CONNECTIONS
    pool = {"min_size": 2, "max_size": size, "timeout": 30, "connection_class": connection_class}
    # A process that freezes in a transaction would hold its row locks for longer than its leases.
    options = f"-c idle_in_transaction_session_timeout={int(lease_seconds * 1000)}"
    return parsed | {
        "CONN_MAX_AGE": 0,
        "OPTIONS": {
            "application_name": application_name(),
            "options": options,
            **_PATIENCE,
            **parsed.get("OPTIONS", {}),
            "pool": pool,
        },
    }


def application_name() -> str:
    """Returns the name of this process in `pg_stat_activity`, which takes 63 bytes."""
    return f"{APPLICATION}{socket.gethostname()[:30]}:{os.getpid()}"


def max_connections(*, db_threads: int, request_threads: int) -> int:
    """Returns the most connections that one process opens: those of a worker, which opens some more than a web
    process."""
    return db_threads + request_threads + OTHER_CONNECTIONS + QUEUE_CONNECTIONS
