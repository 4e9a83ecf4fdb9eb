"""The command `gateway key issue|list|revoke`: API keys without the admin.

A new secret is the only text on standard output, so that a script can read it; messages go to standard error.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from core_app.command import GatewayCommand
from tenants_app.command_options import ACTOR, tenant_named, write_list
from tenants_app.models import ApiKey
from tenants_app.principal import DEFAULT_TENANT, TENANT_SCOPES
from tenants_app.services import api_key_issue, api_key_revoke


class Command(GatewayCommand):
    """Issues, lists and revokes API keys."""

    help = "Issues, lists and revokes API keys."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        issue = actions.add_parser("issue", help="make a key and print its secret")
        issue.add_argument("--tenant", default=DEFAULT_TENANT)
        issue.add_argument("--name", required=True)
        issue.add_argument(
            "--scopes", default=",".join(TENANT_SCOPES), help="separated by commas; default: %(default)s"
        )
        issue.add_argument("--rpm", type=int, default=None, help="requests per minute, 0 for no limit")
        listing = actions.add_parser("list", help="show the keys that are there")
        listing.add_argument("--tenant", default=None)
        listing.add_argument("--json", action="store_true")
        revoke = actions.add_parser("revoke", help="end the key with this prefix")
        revoke.add_argument("prefix")

    def handle(self, *args: Any, **options: Any) -> None:
        actions = {"issue": self._issue, "list": self._list, "revoke": self._revoke}
        actions[options["action"]](options)

    def _issue(self, options: dict[str, Any]) -> None:
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        if options["rpm"] is not None and options["rpm"] < 0:
            raise CommandError("--rpm is 0 or more.")
        tenant = tenant_named(options["tenant"])
        issued = api_key_issue(tenant=tenant, name=options["name"], scopes=scopes, rpm=options["rpm"], actor=ACTOR)
        self.stdout.write(issued.secret)
        self.stderr.write(f"{issued.key} of tenant {tenant}; the secret is shown this once.")

    def _list(self, options: dict[str, Any]) -> None:
        keys = ApiKey.objects.select_related("tenant").order_by("tenant__slug", "id")
        if options["tenant"] is not None:
            keys = keys.filter(tenant=tenant_named(options["tenant"]))
        rows = [
            {
                "prefix": key.prefix,
                "tenant": key.tenant.slug,
                "name": key.name,
                "state": "revoked" if key.revoked_at else "active",
                "scopes": key.scopes,
                "rpm": key.rpm,
            }
            for key in keys
        ]
        write_list(self, rows, as_json=options["json"])

    def _revoke(self, options: dict[str, Any]) -> None:
        found = list(ApiKey.objects.filter(prefix=options["prefix"]))
        if len(found) != 1:
            raise CommandError(f"{len(found)} keys have the prefix '{options['prefix']}'.")
        api_key_revoke(key=found[0], actor=ACTOR)
        self.stderr.write(f"{found[0]} is revoked.")
