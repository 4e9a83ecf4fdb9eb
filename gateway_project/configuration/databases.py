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
"""Connections beside one for each database, action and request thread: the flusher's, the lease keeper's, those of the
background work …"""

QUEUE_CONNECTIONS = 4
"""Connections that a worker's queue opens beside those."""

POOL_SECONDS = 3.0
"""A request is answered after this time when PostgreSQL is away."""

RECONNECT_SECONDS = 3.0

CONNECTION_SECONDS = 600.0
"""A connection is replaced after this time, so that one to a server that was demoted quietly does not last."""

IDLE_PARTS = 4
"""A transaction may be idle for a quarter of a lease: its row locks are needed to renew leases, every quarter of it."""

LEAST_IDLE_SECONDS = 2.0
"""A process on a busy machine may need as long between two statements, however short its leases are."""

DEFAULT_PORT = "5432"

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


def sqlite(file: Path, *, test_file: Path | str, synchronous: str, lock_seconds: float) -> dict[str, Any]:
    """Returns the settings of a database in `file`, in WAL mode."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # Read-then-write in deferred mode fails with "database is locked" under load.
            "transaction_mode": "IMMEDIATE",
            # For another process that writes, such as a command of an operator.
            "timeout": lock_seconds,
            "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};"
            " PRAGMA cache_size=-16000; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=268435456;",
        },
        # Django's default test database is shared-cache memory, which has no WAL mode.
        "TEST": {"NAME": test_file},
    }


def postgresql(url: str, *, threads: int, lease_seconds: float, lock_seconds: float) -> dict[str, Any]:
    """Returns the settings of the database at `url`, with a connection pool for the `threads` of a process and its
    other work. The URL may name several hosts, `host1:5432,host2:5432`, which libpq tries in turn.

    Raises ImproperlyConfigured, with a text that never shows the password.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured("GATEWAY_DATABASE_URL takes postgresql://…; leave it empty for SQLite.")
    try:
        # libpq quotes what is wrong in a password's percent-encoding, password included.
        if re.search("%(?![0-9A-Fa-f]{2})", url):
            raise ValueError(url)
        parsed = _parse(url)
    except ValueError:
        raise ImproperlyConfigured(
            "GATEWAY_DATABASE_URL is no address: it takes postgresql://user:password@host:5432/name, where"
            " / @ : # ? % in a password are percent-encoded (%2F %40 %3A %23 %3F %25)."
        ) from None
    # By name: an embedded gateway does not need the library, which costs a start 0.07 s.
    connection_class = import_string("core_app.postgresql.PromptConnection")
    pool = {
        "min_size": 2,
        "max_size": threads + OTHER_CONNECTIONS,
        # The pool has a connection for every thread, so a thread waits for one only while the server is away.
        "timeout": max(POOL_SECONDS, lock_seconds),
        "max_lifetime": CONNECTION_SECONDS,
        # The pauses between attempts double; after this time the next caller begins with short ones again.
        "reconnect_timeout": RECONNECT_SECONDS,
        "connection_class": connection_class,
    }
    # A process that freezes in a transaction holds its row locks, which other processes need to renew their leases.
    idle_seconds = max(LEAST_IDLE_SECONDS, lease_seconds / IDLE_PARTS)
    options = f"-c idle_in_transaction_session_timeout={int(idle_seconds * 1000)}"
    options += f" -c lock_timeout={int(lock_seconds * 1000)}"
    return parsed | {
        "ENGINE": "core_app.postgresql_backend",
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


def max_connections(threads: int) -> int:
    """Returns the most connections that one process with so many threads opens: those of a worker, which opens some
    more than a web process."""
    return threads + OTHER_CONNECTIONS + QUEUE_CONNECTIONS


def _parse(url: str) -> dict[str, Any]:
    """Parses the URL. The library for it reads one host only, so the others are put back afterwards."""
    scheme, _, rest = url.partition("://")
    authority, separator, path = _split_authority(rest)
    credentials, at, hosts = authority.rpartition("@")
    parts = [_split_port(host) for host in hosts.split(",")]
    first, port = parts[0]
    single = f"{first}:{port}" if port else first
    parsed: dict[str, Any] = dict(dj_database_url.parse(f"{scheme}://{credentials}{at}{single}{separator}{path}"))
    if len(parts) > 1:
        if any(not host or (port and not port.isdigit()) for host, port in parts):
            raise ValueError(url)
        parsed["HOST"] = ",".join(host.strip("[]") for host, _ in parts)
        parsed["PORT"] = ",".join(port or DEFAULT_PORT for _, port in parts)
    return parsed


def _split_authority(rest: str) -> tuple[str, str, str]:
    """Splits what follows the scheme into authority, the character that ends it, and the remainder."""
    found = re.search("[/?#]", rest)
    return (rest, "", "") if found is None else (rest[: found.start()], found[0], rest[found.end() :])


def _split_port(host: str) -> tuple[str, str]:
    """Splits `host:port` or `[address]:port`; the port is empty where there is none."""
    address, bracket, port = host.rpartition("]")
    if bracket:
        return address + bracket, port.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port
