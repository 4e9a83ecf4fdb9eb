"""`gateway erase session|end-user|tenant`: the erasure services on the command line."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from core_app.command import GatewayCommand
from core_app.errors import Conflict, SessionNotFound
from sessions_app.services.erasure import end_user_erase, session_erase, tenant_erase
from tenants_app.models import Tenant

ACTOR = "command:erase"


class Command(GatewayCommand):
    help = "Erases a session, what one end user said, or all sessions of a tenant. The ledger and the audit stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["session", "end-user", "tenant"])
        parser.add_argument("name", nargs="?", help="the session's id, or the end user's")
        parser.add_argument("--tenant", default="default", help="the tenant's slug")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, what: str, name: str | None, tenant: str, yes: bool, **options: Any) -> None:
        owner = Tenant.objects.filter(slug=tenant).first()
        if owner is None:
            raise CommandError(f"There is no tenant {tenant!r}.")
        if what != "tenant" and not name:
            raise CommandError(f"'erase {what}' needs the {what}'s id.")
        target = f"the tenant {tenant!r}" if what == "tenant" else f"the {what} {name!r} of {tenant!r}"
        if not yes and not self.confirm(f"Erase {target} for good?", word="erase"):
            raise CommandError("Nothing was erased.")
        try:
            self.stdout.write(self._erase(what, name or "", owner))
        except (Conflict, SessionNotFound) as error:
            raise CommandError(error.message) from None

    def _erase(self, what: str, name: str, tenant: Tenant) -> str:
        if what == "session":
            removed = session_erase(tenant_id=tenant.pk, public_id=name, actor=ACTOR)
            return f"Erased the session and its {removed} events."
        if what == "end-user":
            sessions, runs = end_user_erase(tenant_id=tenant.pk, end_user=name, actor=ACTOR)
            return f"Erased {sessions} sessions, and {runs} runs in sessions shared with others."
        return f"Erased {tenant_erase(tenant=tenant, actor=ACTOR).sessions} sessions."
