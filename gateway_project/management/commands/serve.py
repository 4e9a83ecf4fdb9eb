"""`gateway serve`: migrates, seeds keys and serves.

1. check the settings, 2. open the ports, 3. reach the database, 4. take the lock where only one process may serve,
5. apply migrations and read the configuration, 6. seed keys or issue the first ones, 7. serve, and print the addresses.
A failure is one sentence and exit code 1. With GATEWAY_PROCESSES above 1, steps 1 to 6 are made once, by the parent of
the processes that serve (`gateway_project.process.server_processes`).
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, connection, connections

from core_app.command import GatewayCommand
from core_app.database_files import database_reason
from gateway_project.configuration.startup_file import configuration_check
from gateway_project.http.health import migrations_missing
from gateway_project.process.announcement import announcement, first_secrets
from gateway_project.process.lifecycle import GATEWAY
from gateway_project.process.process_lock import AlreadyServed, ProcessLock, lock_deployment
from gateway_project.process.server import GatewayServer, PortTaken, abandon_process, bind_sockets, server_config
from gateway_project.process.server_processes import Member, ServerProcesses
from tenants_app.services import FirstStart, bootstrap_first_start, gateway_user_ensure, keys_seed

logger = structlog.get_logger("gateway.serve")

_DATABASE_SERVER = "gateway_project.process.database_server"
MIGRATION_KEY = 0x6D69677261746573
"""`migrates` in ASCII: the advisory lock of the process that migrates, of several that start."""

MIGRATION_PAUSE_SECONDS = 0.2
"""Pause of a process that waits for another's migrations."""


class Command(GatewayCommand):
    help = "Serves the gateway: HTTP, SSE and WebSocket, and with GATEWAY_RUNNER=inline the runs too."
    needs_data = False
    # The other checks load every URL and model admin, which a start does not need; CI runs them all.
    checks_settings = True

    def add_arguments(self, parser: CommandParser) -> None:
        # `gateway_project.command_line` has put them into the settings.
        parser.add_argument("--host", help="address to listen on; takes precedence over GATEWAY_HOST")
        parser.add_argument("--port", help="port to listen on; takes precedence over GATEWAY_PORT")
        parser.add_argument("--processes", help="server processes; takes precedence over GATEWAY_PROCESSES")
        # How the parent of several processes starts each.
        parser.add_argument("--member", type=Member, help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["member"] is not None:
                self._serve_as(options["member"])
            elif settings.GATEWAY_PROCESSES > 1:
                self._serve_by(settings.GATEWAY_PROCESSES)
            else:
                self._serve_alone()
        except (PortTaken, AlreadyServed, ImproperlyConfigured) as refusal:
            raise CommandError(str(refusal)) from None
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {database_reason(error)}") from None

    def _serve_alone(self) -> None:
        sockets = bind_sockets(settings.GATEWAY_HOST, ports())
        reach_database(settings.GATEWAY_DATABASE_URL)
        lock = lock_deployment()
        first = prepare()
        self._serve(sockets, lambda: self._announce(first), lock=lock, first=first)

    def _serve_by(self, count: int) -> None:
        """Prepares the deployment and starts `count` processes, which serve it."""
        if not (settings.GATEWAY_DATABASE_URL and settings.GATEWAY_REDIS_URL):
            raise ImproperlyConfigured(
                f"{count} processes (GATEWAY_PROCESSES, --processes) need PostgreSQL and Redis: set"
                " GATEWAY_DATABASE_URL and GATEWAY_REDIS_URL."
            )
        # Another program on the port would not share it: this one says so before the database is changed.
        for listener in bind_sockets(settings.GATEWAY_HOST, ports()):
            listener.close()
        reach_database(settings.GATEWAY_DATABASE_URL)
        first = prepare()
        close_connections()
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "serve"]
        code = ServerProcesses(count, command, on_ready=lambda: self._announce(first)).run()
        if code:
            sys.exit(code)

    def _serve_as(self, member: Member) -> None:
        """Serves as one of several processes, whose parent has prepared the deployment."""
        member.follow_parent()
        sockets = bind_sockets(settings.GATEWAY_HOST, ports(), shared=True)
        if settings.GATEWAY_PROCESS_PORT:
            sockets += bind_sockets("127.0.0.1", [settings.GATEWAY_PROCESS_PORT + member.number])
        reach_database(settings.GATEWAY_DATABASE_URL)
        configuration_check()
        self._serve(sockets, member.report_ready)

    def _announce(self, first: FirstStart | None) -> None:
        self.stdout.write(announcement(first))
        self.stdout.flush()

    def _serve(
        self,
        sockets: list[socket.socket],
        on_ready: Callable[[], None],
        *,
        lock: ProcessLock | None = None,
        first: FirstStart | None = None,
    ) -> None:
        server = GatewayServer(
            server_config(application_path()), gateway=GATEWAY, on_ready=on_ready, on_hang=abandon_process
        )
        server.run(sockets)
        if lock is not None:
            lock.release()
        if server.force_exit:
            # A regular exit would wait for busy threads; the next start takes up the interrupted legs.
            os._exit(1)
        if not server.started:
            if first is not None:
                # The secrets are in the database already, and no later start could show them.
                self.stdout.write("\n".join(first_secrets(first)))
            sys.exit(1)


def ports() -> list[int]:
    """Returns the ports of the settings."""
    return [settings.GATEWAY_PORT, *settings.GATEWAY_EXTRA_PORTS]


def close_connections() -> None:
    """Closes the connections of this process, pools included."""
    for each in connections.all(initialized_only=True):
        each.close()
        if hasattr(each, "close_pool"):
            each.close_pool()


def application_path() -> Any:
    """Returns the import path of the ASGI application, which uvicorn imports once the database can be used."""
    return "gateway_project.asgi:application"


def reach_database(url: str) -> None:
    """Raises CommandError at once when PostgreSQL does not answer, where the pool would try for half a minute."""
    if not url:
        return
    server = import_module(_DATABASE_SERVER)
    try:
        server.reach(url)
    except server.Unreachable as error:
        raise CommandError(f"GATEWAY_DATABASE_URL cannot be reached: {error}") from None


def prepare() -> FirstStart | None:
    """Migrates the database to this version, and seeds the keys of the settings or issues the first ones."""
    migrate()
    # Before keys are issued, which a failing start would not show.
    configuration_check()
    keys_seed(settings.GATEWAY_API_KEYS)
    gateway_user_ensure()
    return bootstrap_first_start()


def migrate() -> None:
    """Applies missing migrations; of several processes that start at once on PostgreSQL only one does."""
    missing = migrations_missing()
    if not missing:
        return
    logger.info("migrations_applied", count=missing)
    if connection.vendor != "postgresql":
        call_command("migrate", interactive=False, verbosity=0)
        return
    with connection.cursor() as cursor:
        # It asks again rather than wait inside a statement, whose snapshot would hold up the indexes that the other
        # process makes concurrently: PostgreSQL ends one of the two as a deadlock.
        while not _lock_migrations(cursor):
            time.sleep(MIGRATION_PAUSE_SECONDS)
        try:
            call_command("migrate", interactive=False, verbosity=0)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_KEY])


def _lock_migrations(cursor: Any) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s)", [MIGRATION_KEY])
    return bool(cursor.fetchone()[0])
