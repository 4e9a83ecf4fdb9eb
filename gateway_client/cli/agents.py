"""`agents`: the directory of agents."""

from __future__ import annotations

import typer
from rich.text import Text

from gateway_client.cli.command import Cli, command
from gateway_client.cli.when import since_text

STYLES = {"online": "green", "busy": "yellow", "offline": "dim"}


def register(app: typer.Typer) -> None:
    command(app)(agents)


def agents(cli: Cli) -> None:
    """List the agents that tasks and sessions may go to."""
    with cli.gateway() as gateway:
        found = gateway.agents.list()
    if cli.screen.as_json:
        cli.screen.document(found)
        return
    rows = [
        (
            each.id,
            status_text(each.status),
            each.type,
            each.name,
            ", ".join(each.capabilities),
            since_text(each.last_seen) if each.last_seen else "",
        )
        for each in found
    ]
    columns = ("AGENT", "STATUS", "TYPE", "NAME", "CAPABILITIES", "LAST SEEN")
    cli.screen.table(columns, rows, empty="There are no agents.")


def status_text(status: str) -> Text:
    """Returns a status in its colour."""
    return Text(status, style=STYLES.get(status, ""))
