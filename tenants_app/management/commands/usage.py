"""The command `manage.py usage fold|rebuild` for the ledger's sums per day; the gateway itself folds periodically."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants_app.models import Tenant
from tenants_app.services.usage import usage_fold, usage_unfold


class Command(BaseCommand):
    """Folds the ledger's new rows, or all rows again."""

    help = "Folds the ledger into the sums per day that usage reports read."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("fold", help="fold now what would be folded soon")
        rebuild = actions.add_parser("rebuild", help="forget the sums, a day at a time, and fold the ledger anew")
        rebuild.add_argument("--tenant", help="only this tenant's slug")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "rebuild":
            for tenant in self._tenants(options["tenant"]):
                usage_unfold(tenant_id=tenant.pk)
        folded = 0
        while done := usage_fold():
            folded += done
        self.stdout.write(f"Folded {folded} ledger rows.")

    def _tenants(self, slug: str | None) -> list[Tenant]:
        tenants = Tenant.objects.order_by("pk")
        found = list(tenants if slug is None else tenants.filter(slug=slug))
        if not found:
            raise CommandError(f"There is no tenant {slug!r}." if slug else "There is no tenant.")
        return found
