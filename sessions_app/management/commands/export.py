"""`gateway export`: writes a tenant's sessions, responses and conversations to standard output, as lines of JSON."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from core_app.command import GatewayCommand
from core_app.errors import Conflict
from sessions_app.dependents import DEPENDENTS
from sessions_app.export import session_export, sessions_of
from tenants_app.models import Tenant


class Command(GatewayCommand):
    help = "Writes sessions with their runs, messages and events, responses and conversations as JSON lines."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", default="default", help="the tenant's slug")
        parser.add_argument("--session", help="only this session")
        parser.add_argument("--end-user", help="only sessions in which this end user spoke")

    def handle(self, *args: Any, tenant: str, session: str | None, end_user: str | None, **options: Any) -> None:
        owner = Tenant.objects.filter(slug=tenant).first()
        if owner is None:
            raise CommandError(f"There is no tenant {tenant!r}.")
        # Standard output has the export alone.
        self.stderr.write(f"Sessions of tenant {tenant}:")
        try:
            for found in sessions_of(owner.pk, session_id=session, end_user=end_user):
                for line in session_export(found):
                    self.stdout.write(line.decode(), ending="")
            if session is None:
                for line in DEPENDENTS.export(owner.pk, end_user):
                    self.stdout.write(line.decode(), ending="")
        except Conflict as error:
            raise CommandError(f"{error.message} Discard the output and export again.") from None
