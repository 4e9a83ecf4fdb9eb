"""`config show|path|edit`: the person's own configuration."""

from __future__ import annotations

import os
import shlex
import subprocess

import typer

from gateway_client.cli.command import Cli, command
from gateway_client.cli.files import file_read, file_write
from gateway_client.cli.settings import TEMPLATE, config_path, settings_load
from gateway_client.errors import GatewayError


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The configuration of this command.", no_args_is_help=True)
    for each in (show, path, edit):
        command(group)(each)
    app.add_typer(group, name="config")


def show(cli: Cli) -> None:
    """Show the settings, and where each comes from. The key is shown in part."""
    settings = cli.settings
    values = {"url": settings.url, "api_key": settings.shown_key, "model": settings.model or ""}
    if cli.screen.as_json:
        shown = {name: {"value": value, "from": settings.sources.get(name)} for name, value in values.items()}
        cli.screen.document(shown)
        return
    rows = [
        (name, value or "–", settings.sources.get(name, "default" if value else "")) for name, value in values.items()
    ]
    cli.screen.table(("SETTING", "VALUE", "FROM"), rows, empty="")


def path(cli: Cli) -> None:
    """Print the path of the configuration file, which need not exist."""
    if cli.screen.as_json:
        cli.screen.document({"path": str(config_path()), "exists": config_path().exists()})
    else:
        cli.screen.text(str(config_path()))


def edit(cli: Cli) -> None:
    """Edit the configuration file with $VISUAL or $EDITOR."""
    target = config_path()
    if not target.exists():
        file_write(file_read(target), TEMPLATE.encode())
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        done = subprocess.run([*editor, str(target)], check=False)  # noqa: S603  (the person's own editor)
    except OSError as error:
        raise GatewayError(f"'{editor[0]}' cannot be started: set EDITOR to your editor.") from error
    if done.returncode:
        raise GatewayError(f"'{editor[0]}' ended with exit code {done.returncode}.")
    settings_load(None)
    cli.screen.note(f"{target} is in order.")
