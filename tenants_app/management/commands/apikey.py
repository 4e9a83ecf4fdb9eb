"""The command `manage.py apikey issue|list|revoke`: API keys without the admin.

A new secret is the only text on standard output, so that a script can read it; messages go to standard error.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core_app.errors import GatewayError
from tenants_app.models import ApiKey, Tenant
from tenants_app.principal import DEFAULT_TENANT, TENANT_SCOPES
from tenants_app.services import api_key_issue, api_key_revoke

_ACTOR = "command line"


class Command(BaseCommand):
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
        revoke = actions.add_parser("revoke", help="end the key with this prefix")
        revoke.add_argument("prefix")

    def handle(self, *args: Any, **options: Any) -> None:
        actions = {"issue": self._issue, "list": self._list, "revoke": self._revoke}
        try:
            actions[options["action"]](options)
        except GatewayError as error:
            raise CommandError(error.message) from None

    def _issue(self, options: dict[str, Any]) -> None:
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        if options["rpm"] is not None and options["rpm"] < 0:
            raise CommandError("--rpm is 0 or more.")
        tenant = _tenant(options["tenant"])
        issued = api_key_issue(tenant=tenant, name=options["name"], scopes=scopes, rpm=options["rpm"], actor=_ACTOR)
        self.stdout.write(issued.secret)
        self.stderr.write(f"{issued.key} of tenant {tenant}; the secret is shown this once.")

    def _list(self, options: dict[str, Any]) -> None:
        keys = ApiKey.objects.select_related("tenant").order_by("tenant__slug", "id")
        if options["tenant"] is not None:
            keys = keys.filter(tenant=_tenant(options["tenant"]))
        for key in keys:
            state = "revoked" if key.revoked_at else "good"
            self.stdout.write("\t".join([key.prefix, key.tenant.slug, key.name, state, ",".join(key.scopes)]))

    def _revoke(self, options: dict[str, Any]) -> None:
        found = list(ApiKey.objects.filter(prefix=options["prefix"]))
        if len(found) != 1:
            raise CommandError(f"{len(found)} keys have the prefix '{options['prefix']}'.")
        api_key_revoke(key=found[0], actor=_ACTOR)
        self.stderr.write(f"{found[0]} is revoked.")


def _tenant(slug: str) -> Tenant:
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise CommandError(f"There is no tenant '{slug}'.")
    return tenant
