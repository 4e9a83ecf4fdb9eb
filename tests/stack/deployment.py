"""The state of processes under test: a data directory, or a PostgreSQL database of the test's own.

`environment` is the whole environment of a `manage.py serve`, without the developer's variables. `rows` reads what is
committed without any process, to find what a killed one left behind.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

KEY = "the-key-of-the-stacks-tests"
LEASE_SECONDS = "2"


@dataclass(frozen=True)
class Deployment:
    """One state; any number of processes where there is a database server. `settings` apply to all of them."""

    directory: Path
    database_url: str = ""
    redis_url: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self, port: int) -> dict[str, str]:
        """Returns the whole environment of a process that serves this state at `port`."""
        base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        gateway = {
            "ENV_FILE": os.devnull,
            "DATA_DIR": str(self.directory),
            "SECRET_KEY": "not-a-secret-of-anything-but-these-tests",
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "API_KEYS": KEY,
            "PORT": str(port),
            "RATE_LIMIT_RPM": "0",
            "CALLBACK_ALLOW_PRIVATE": "true",
            "LEASE_SECONDS": LEASE_SECONDS,
            "SWEEP_SECONDS": "0.3",
            "DEMO_DELAY_MS": "0",
            **self.settings,
        }
        return base | {f"GATEWAY_{name}": value for name, value in gateway.items()}

    @property
    def lease_seconds(self) -> float:
        """The time after which a silent process loses its sessions."""
        return float(self.settings.get("LEASE_SECONDS", LEASE_SECONDS))

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Runs a query on the committed rows; its parameters are written `?`."""
        if self.database_url:
            with psycopg.connect(self.database_url) as connection:
                return connection.execute(query.replace("?", "%s"), parameters).fetchall()
        with closing(sqlite3.connect(self.directory / "gateway.sqlite3", timeout=20)) as file:
            return file.execute(query, parameters).fetchall()

    def write(self, statement: str) -> None:
        """Changes the database without any process, to make rows that only years of use would leave."""
        if self.database_url:
            with psycopg.connect(self.database_url) as connection:
                connection.execute(statement)
            return
        with closing(sqlite3.connect(self.directory / "gateway.sqlite3", timeout=20)) as file, file:
            file.execute(statement)


def forget_administrators(deployment: Deployment) -> None:
    """Makes the next start a first one, which makes an administrator and shows the password."""
    deployment.write("DELETE FROM tenants_app_user")


@contextmanager
def database_of_its_own(server_url: str, template: str = "template1") -> Iterator[str]:
    """Creates a database on the server, a copy of `template`, and yields its URL; drops it afterwards."""
    name = f"gateway_stack_{secrets.token_hex(4)}"
    parts = conninfo_to_dict(server_url)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _url(parts | {"dbname": name})
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def exchange_databases(url: str, other_url: str) -> None:
    """Gives each of two databases the name of the other; connections to them break, as in every restore in place."""
    names = [str(conninfo_to_dict(each)["dbname"]) for each in (url, other_url)]
    with psycopg.connect(url.rpartition("/")[0] + "/postgres", autocommit=True) as server:
        for name in names:
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            server.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
        server.execute(f"ALTER DATABASE {names[0]} RENAME TO {names[0]}_lost")
        server.execute(f"ALTER DATABASE {names[1]} RENAME TO {names[0]}")
        server.execute(f"ALTER DATABASE {names[0]}_lost RENAME TO {names[1]}")
        for name in names:
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def _url(parts: dict[str, Any]) -> str:
    password = f":{parts['password']}" if parts.get("password") else ""
    return f"postgresql://{parts['user']}{password}@{parts['host']}:{parts.get('port', 5432)}/{parts['dbname']}"
