"""`start` and `setup`: the gateway of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gateway_client.cli.command import Cli, command
from gateway_client.cli.env_file import env_names, env_set
from gateway_client.cli.files import PRIVATE, file_read, file_write
from gateway_client.cli.keys import line_ask
from gateway_client.cli.place import gateway_directory
from gateway_client.errors import GatewayError

PROVIDERS = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "qwen": "DASHSCOPE_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "groq": "GROQ_API_KEY",
    "xai": "XAI_API_KEY",
    "together": "TOGETHER_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
}
"""The variable of each provider's key, as the gateway reads it."""


def register(app: typer.Typer) -> None:
    command(app, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(start)
    command(app)(setup)


def start(
    cli: Cli,
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of 'manage.py serve'.", show_default=False)
    ] = None,
) -> None:
    """Start the gateway of this machine, where it is installed: 'manage.py serve'."""
    directory = gateway_directory()
    if directory is None:
        raise GatewayError(
            "The gateway is not installed here: change into its directory, which has manage.py, or start it elsewhere."
        )
    own = directory / ".venv/bin/python"
    python = str(own) if own.exists() else sys.executable
    os.chdir(directory)
    sys.stdout.flush()
    os.execv(python, [python, "manage.py", "serve", *(options or ())])  # noqa: S606  (its place is taken)


def setup(
    cli: Cli,
    provider: Annotated[list[str] | None, typer.Argument(help="The providers to ask for.", show_default=False)] = None,
    directory: Annotated[
        Path | None, typer.Option("--directory", help="The directory of the .env file; the gateway's, else this one.")
    ] = None,
) -> None:
    """Ask for the keys of model providers and write them into the gateway's .env, which only you can read.

    What the file has besides stays as it is. Without a terminal, lines NAME=VALUE are read from standard input.
    """
    if unknown := [name for name in provider or () if name not in PROVIDERS]:
        raise typer.BadParameter(f"'{unknown[0]}' is not one of {', '.join(PROVIDERS)}")
    place = directory or gateway_directory() or Path.cwd()
    if not place.is_dir():
        raise GatewayError(f"{place} is not a directory.")
    before = file_read(place / ".env")
    if sys.stdin.isatty() and not cli.screen.as_json:
        values = _ask(cli, provider or [], env_names(before.text))
    else:
        values = _read(sys.stdin)
    if values:
        # In memory first: a value that cannot be written leaves the file alone.
        after = env_set(before.text, values)
        file_write(before, after.encode(), PRIVATE)
    if cli.screen.as_json:
        cli.screen.document({"path": str(before.path), "written": sorted(values)})
    elif values:
        cli.screen.note(f"Wrote {', '.join(sorted(values))} to {before.path}. Restart the gateway to use them.")
    else:
        cli.screen.note("Nothing was changed.")


def _ask(cli: Cli, wanted: list[str], known: set[str]) -> dict[str, str]:
    if not wanted:
        for number, (name, variable) in enumerate(PROVIDERS.items(), 1):
            state = "set" if variable in known else ""
            cli.screen.err.print(
                Text.assemble(f"{number:3} ", (f"{name:12}", "bold"), f"{variable:24}", (state, "green"))
            )
        chosen = line_ask("Providers, as numbers or names (empty ends): ").replace(",", " ").split()
        wanted = [_name(each) for each in chosen]
    values = {}
    for name in wanted:
        variable = PROVIDERS[name]
        keeps = "empty keeps the one it has" if variable in known else "empty leaves it out"
        if value := getpass(f"{variable} ({keeps}, nothing is shown): ").strip():
            values[variable] = value
    return values


def _name(chosen: str) -> str:
    names = list(PROVIDERS)
    if chosen.isdecimal() and 0 < int(chosen) <= len(names):
        return names[int(chosen) - 1]
    if chosen not in PROVIDERS:
        raise GatewayError(f"'{chosen[:60]}' is not one of {', '.join(PROVIDERS)}.")
    return chosen


def _read(lines: Iterable[str]) -> dict[str, str]:
    values = {}
    for line in lines:
        name, sign, value = line.strip().partition("=")
        if not line.strip():
            continue
        if name not in PROVIDERS.values() or not sign or not value:
            raise GatewayError(f"Standard input has lines NAME=VALUE with the names {', '.join(PROVIDERS.values())}.")
        values[name] = value
    return values
