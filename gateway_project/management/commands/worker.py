"""`gateway worker`: runs the legs that web processes with GATEWAY_RUNNER=worker queue.

It stops as `serve` does: after SIGTERM it takes no further job, lets running legs end within GATEWAY_DRAIN_SECONDS and
hands the others over. /healthz and /readyz are served at GATEWAY_WORKER_PORT.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from core_app.command import GatewayCommand
from gateway_project.configuration.startup_file import configuration_check
from gateway_project.http.health import migrations_missing
from gateway_project.management.commands.serve import reach_database
from gateway_project.process.lifecycle import GATEWAY
from gateway_project.process.server import GatewayServer, PortTaken, abandon_process, bind_sockets, server_config


class Command(GatewayCommand):
    help = "Runs sessions that web processes (GATEWAY_RUNNER=worker) queue. Needs PostgreSQL and Redis."
    needs_data = False
    checks_settings = True

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.GATEWAY_RUNNER != "worker":
            raise CommandError(
                f"GATEWAY_RUNNER is '{settings.GATEWAY_RUNNER}': the web processes run their sessions themselves."
                " Set GATEWAY_RUNNER=worker for them and for this process."
            )
        try:
            ports = [settings.GATEWAY_WORKER_PORT] if settings.GATEWAY_WORKER_PORT else []
            sockets = bind_sockets(settings.GATEWAY_HOST, ports)
            reach_database(settings.GATEWAY_DATABASE_URL)
            missing = migrations_missing()
        except PortTaken as refusal:
            raise CommandError(str(refusal)) from None
        if missing:
            raise CommandError(f"{missing} migrations are not applied; run 'gateway prepare' or start a web process.")
        try:
            configuration_check()
        except ImproperlyConfigured as refusal:
            raise CommandError(str(refusal)) from None
        GATEWAY.role = "worker"
        server = GatewayServer(
            server_config("gateway_project.asgi:probes"),
            gateway=GATEWAY,
            on_ready=self._announce,
            on_hang=abandon_process,
        )
        server.run(sockets)
        if server.force_exit:
            os._exit(1)
        if not server.started:
            sys.exit(1)

    def _announce(self) -> None:
        self.stdout.write(f"Worker {os.getpid()} takes up to {settings.GATEWAY_WORKER_CONCURRENCY} sessions at a time.")
        self.stdout.flush()
