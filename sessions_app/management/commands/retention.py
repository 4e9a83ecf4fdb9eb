"""`gateway retention`: runs one round of retention, for one tenant or all."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from core_app.command import GatewayCommand
from sessions_app.services.retention import retention_apply, retention_apply_all
from tenants_app.models import Tenant


class Command(GatewayCommand):
    help = "Removes what is older than tenants keep it (GATEWAY_RETENTION_*_DAYS and the tenants' own settings)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="only this tenant's slug")

    def handle(self, *args: Any, tenant: str | None, **options: Any) -> None:
        if tenant is None:
            done = retention_apply_all()
        else:
            owner = Tenant.objects.filter(slug=tenant).first()
            if owner is None:
                raise CommandError(f"There is no tenant {tenant!r}.")
            done = retention_apply(tenant=owner)
        self.stdout.write(
            f"Removed {done.sessions} sessions, {done.events} events, {done.ledger} ledger rows, {done.audit} audit"
            f" entries and {done.groups} empty groups."
        )
