"""The tree of commands. A module per noun registers its own."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from gateway_client.cli import agents, chat, config, doctor, gateway, local, sessions, spaces, tasks, usage
from gateway_client.cli.command import JsonOption, UrlOption
from gateway_client.cli.connect import commands as connect

app = typer.Typer(
    name="agent-gateway",
    help="Sessions with AI agents, their tasks and models, over a running Agent Gateway.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help in boxes takes longer to import than all the rest.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(version("agent-gateway-client"))
        except PackageNotFoundError:
            typer.echo("of this checkout")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    as_json: JsonOption = False,
    url: UrlOption = None,
    shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    ctx.obj = {"json": as_json, "url": url}


for module in (chat, tasks, sessions, agents, spaces, usage, gateway, doctor, local, config, connect):
    module.register(app)


def run() -> None:
    """Runs the command line and exits."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app(prog_name="agent-gateway")
