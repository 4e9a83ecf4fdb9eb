"""The command `gateway tenant list|add|set|disable|enable`."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core_app.command import GatewayCommand
from core_app.suggestion import suggestion
from tenants_app.command_options import ACTOR, tenant_named, write_list
from tenants_app.models import Tenant
from tenants_app.services import tenant_create, tenant_update
from tenants_app.tenant_settings import SETTINGS


class Command(GatewayCommand):
    """Creates, changes and lists tenants."""

    help = "Lists, adds, changes, disables and enables tenants. Tenants are never deleted: their ledger stays."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="show the tenants").add_argument("--json", action="store_true")
        add = actions.add_parser("add", help="make a tenant: tenant add acme rpm=300")
        add.add_argument("slug")
        add.add_argument("--name", default="")
        change = actions.add_parser("set", help="change settings: tenant set acme rpm=300 default_model=")
        change.add_argument("slug")
        change.add_argument("--name", default=None)
        for action in (add, change):
            action.add_argument(
                "pairs", nargs="*", metavar="setting=value", help="without a value the setting is removed"
            )
        for name, text in (("disable", "stop its keys"), ("enable", "let its keys work again")):
            actions.add_parser(name, help=text).add_argument("slug")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "list":
            rows = [
                {"slug": t.slug, "name": t.name, "state": "disabled" if t.disabled_at else "active", **_shown(t)}
                for t in Tenant.objects.order_by("slug")
            ]
            write_list(self, rows, as_json=options["json"])
            return
        slug = options["slug"]
        if action == "add":
            given = {name: value for name, value in _parse(options["pairs"]).items() if value is not None}
            tenant_create(slug=slug, name=options["name"], settings=given, actor=ACTOR)
            self.stdout.write(f"There is a tenant {slug} now. A key for it: gateway key issue --tenant {slug} --name …")
            return
        tenant = tenant_named(slug)
        if action == "set":
            changed = {**tenant.settings, **_parse(options["pairs"])}
            kept = {name: value for name, value in changed.items() if value is not None}
            tenant_update(tenant=tenant, name=options["name"], settings=kept, actor=ACTOR)
        else:
            tenant_update(tenant=tenant, disabled=action == "disable", actor=ACTOR)
        self.stdout.write(f"The tenant {slug} is changed.")


def _shown(tenant: Tenant) -> dict[str, str]:
    shown = {name: value for name, value in tenant.settings.items() if name in SETTINGS}
    return {"settings": " ".join(f"{name}={json.dumps(value)}" for name, value in shown.items())}


def _parse(pairs: list[str]) -> dict[str, Any]:
    """Returns the settings with values of their types; None for one without a value."""
    found: dict[str, Any] = {}
    for text in pairs:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"'{text}' is not setting=value.")
        if name not in SETTINGS:
            near = suggestion(name, SETTINGS)
            raise CommandError(f"'{name}' is not a setting of tenants.{near} There are: {', '.join(SETTINGS)}.")
        found[name] = _value(name, value) if value else None
    return found


def _value(name: str, text: str) -> Any:
    if SETTINGS[name] is str:
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise CommandError(f"{name} takes a {SETTINGS[name].__name__}, such as 300, true or {{…}} in JSON.") from None
