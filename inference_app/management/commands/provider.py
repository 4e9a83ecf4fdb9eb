"""The command `gateway provider list|add|remove|test`: model providers without the admin."""

from __future__ import annotations

import asyncio
import sys
from getpass import getpass
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core_app.command import GatewayCommand
from core_app.suggestion import suggestion
from inference_app.catalogue.config import models_config
from inference_app.models import Provider
from inference_app.operator.operator_settings import rows_apply
from inference_app.operator.provider_test import ProviderTest, provider_test
from inference_app.operator.providers_in_force import providers_in_force
from inference_app.operator.services import provider_named, provider_save, row_remove
from inference_app.providers.upstreams import UPSTREAMS
from tenants_app.command_options import ACTOR, write_list


class Command(GatewayCommand):
    """Lists, adds, removes and tests providers."""

    help = "Lists the providers in force with their source and state; adds, removes and tests them."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="show the providers in force").add_argument("--json", action="store_true")
        add = actions.add_parser("add", help="add or change one; a key is typed, or read as a line from standard input")
        add.add_argument("name", help="a known name (deepseek, openai, …) or one of your own")
        add.add_argument("--base-url", help="its address, with /v1 for those that speak OpenAI's wire")
        add.add_argument("--wire", help="openai-chat (the default), openai-responses or anthropic")
        add.add_argument("--model", action="append", default=[], help="a model that it has; may be repeated")
        add.add_argument("--no-key", action="store_true", help="it needs no key")
        add.add_argument("--key-env", help="the variable with its key, in place of a key stored here")
        remove = actions.add_parser("remove", help="remove what was added; shipped providers stay as they are shipped")
        remove.add_argument("name")
        test = actions.add_parser("test", help="ask it for a few tokens")
        test.add_argument("name")
        test.add_argument("--model")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        rows_apply()
        {"list": self._list, "add": self._add, "remove": self._remove, "test": self._test}[action](options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = [
            {
                "name": provider.name,
                "source": ", ".join(provider.sources),
                "state": provider.state.state,
                "reason": provider.state.reason,
                "wire": provider.entry.wire,
                "address": provider.entry.base_url or None,
                "models": [model.id for model in provider.entry.models],
            }
            for provider in providers_in_force()
        ]
        write_list(self, rows, as_json=options["json"])

    def _add(self, options: dict[str, Any]) -> None:
        name = options["name"]
        row = provider_named(name)
        given = {"base_url": options["base_url"], "wire": options["wire"], "models": options["model"] or None}
        if options["no_key"]:
            given["api_key"] = "none"
        if options["key_env"]:
            given["api_key_env"] = options["key_env"]
        row.entry = {**row.entry, **{field: value for field, value in given.items() if value is not None}}
        stored = not (options["no_key"] or options["key_env"])
        provider_save(provider=row, actor=ACTOR, key=self._key(name) if stored else None)
        self.stdout.write(f"{name} is set up, for every process within seconds. Try it: gateway provider test {name}")

    def _key(self, name: str) -> str:
        key = getpass(f"Key of {name}: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
        if not key:
            raise CommandError("There is no key: type one, pipe one in as a line, or add --no-key or --key-env NAME.")
        return key

    def _remove(self, options: dict[str, Any]) -> None:
        row = Provider.objects.filter(name=options["name"]).first()
        if row is None:
            where = "is not one that was added here" if options["name"] in models_config().providers else "is not here"
            raise CommandError(f"The provider '{options['name']}' {where}.")
        row_remove(row=row, actor=ACTOR)
        self.stdout.write(f"{options['name']} is removed.")

    def _test(self, options: dict[str, Any]) -> None:
        name, known = options["name"], models_config().providers
        if name not in known:
            raise CommandError(f"There is no provider '{name}'.{suggestion(name, known)}")
        result = asyncio.run(_tested(name, options["model"]))
        if not result.ok:
            raise CommandError(result.text)
        self.stdout.write(result.text)


async def _tested(name: str, model: str | None) -> ProviderTest:
    try:
        return await provider_test(name, model=model)
    finally:
        await UPSTREAMS.stop()
