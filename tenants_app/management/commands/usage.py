"""The command `gateway usage report|fold|rebuild`: what was used, and the ledger's sums per day that it reads.

The gateway itself folds periodically.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core_app import clock
from core_app.command import GatewayCommand
from tenants_app.command_options import tenant_named, write_list
from tenants_app.models import Tenant
from tenants_app.selectors.usage import DailyUsage, usage_daily
from tenants_app.services.usage import usage_fold, usage_unfold


class Command(GatewayCommand):
    """Reports usage; folds the ledger's new rows, or all rows again."""

    help = "Reports usage in tokens and dollars; folds the ledger into the sums per day that reports read."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        report = actions.add_parser("report", help="show tokens and cost: usage report --by tenant --days 7")
        report.add_argument("--by", choices=["model", "key", "tenant"], default="model")
        report.add_argument("--tenant", help="only this tenant's slug")
        report.add_argument("--days", type=int, default=30, help="days up to today, in UTC (default: %(default)s)")
        report.add_argument("--daily", action="store_true", help="a line for each day")
        report.add_argument("--json", action="store_true")
        actions.add_parser("fold", help="fold now what would be folded soon")
        rebuild = actions.add_parser("rebuild", help="forget the sums, a day at a time, and fold the ledger anew")
        rebuild.add_argument("--tenant", help="only this tenant's slug")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "report":
            self._report(options)
            return
        if action == "rebuild":
            for tenant in self._tenants(options["tenant"]):
                usage_unfold(tenant_id=tenant.pk)
        folded = 0
        while done := usage_fold():
            folded += done
        self.stdout.write(f"Folded {folded} ledger rows.")

    def _report(self, options: dict[str, Any]) -> None:
        if not 1 <= options["days"] <= 3660:
            raise CommandError("--days is a number from 1 to 3660.")
        today = clock.now().date()
        tenant_id = tenant_named(options["tenant"]).pk if options["tenant"] else None
        since = today - timedelta(days=options["days"] - 1)
        found = usage_daily(tenant_id=tenant_id, since=since, until=today, by=options["by"])
        groups: dict[tuple[str, ...], list[DailyUsage]] = defaultdict(list)
        for usage in found:
            groups[(usage.name, str(usage.day)) if options["daily"] else (usage.name,)].append(usage)
        heads = (options["by"], "day") if options["daily"] else (options["by"],)
        rows = [dict(zip(heads, names, strict=True)) | _sums(parts) for names, parts in sorted(groups.items())]
        if not options["json"]:
            self.stderr.write(f"From {since} to {today} (UTC).")
        write_list(self, rows, as_json=options["json"])

    def _tenants(self, slug: str | None) -> list[Tenant]:
        found = [tenant_named(slug)] if slug is not None else list(Tenant.objects.order_by("pk"))
        if not found:
            raise CommandError("There is no tenant.")
        return found


def _sums(parts: list[DailyUsage]) -> dict[str, Any]:
    cost = sum((part.cost_usd for part in parts), Decimal(0))
    # A response without a price is no response for nothing.
    known = all(part.cost_known for part in parts)
    return {
        "responses": sum(part.responses for part in parts),
        "input": sum(part.input_tokens for part in parts),
        "cached": sum(part.cached_tokens for part in parts),
        "output": sum(part.output_tokens for part in parts),
        "usd": f"{cost:.6f}" if known else f"at least {cost:.6f}",
    }
