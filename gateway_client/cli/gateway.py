"""`health`, `status`, `models`: the gateway itself."""

from __future__ import annotations

from itertools import islice

import typer

from gateway_client import errors
from gateway_client.cli.agents import status_text
from gateway_client.cli.command import Cli, command
from gateway_client.cli.when import duration_text
from gateway_client.sync import Gateway

LOOKED_AT = 200
"""The newest sessions and tasks that `status` counts."""


def register(app: typer.Typer) -> None:
    for each in (health, status, models):
        command(app)(each)


def health(cli: Cli) -> None:
    """Check that the gateway answers. The exit code is 1 when it does not."""
    with cli.gateway() as gateway:
        found = gateway.health()
    if cli.screen.as_json:
        cli.screen.document(found)
    else:
        cli.screen.text(f"{found.status}, version {found.version}, up for {duration_text(found.uptime)}")
    if found.status != "ok":
        raise typer.Exit(1)


def status(cli: Cli) -> None:
    """Show the gateway, its agents, and what is under way."""
    with cli.gateway() as gateway:
        found = gateway.health()
        agents = gateway.agents.list()
        states = _states(gateway)
    if cli.screen.as_json:
        cli.screen.document({"health": found, "agents": agents, "under_way": states})
        return
    pairs = [
        ("gateway", f"{cli.settings.url}, version {found.version}, up for {duration_text(found.uptime)}"),
        ("key", cli.settings.shown_key or "none"),
    ]
    pairs += [
        (kind, ", ".join(f"{count} {state}" for state, count in sorted(each.items())) or "none")
        for kind, each in states.items()
    ]
    cli.screen.fields(pairs)
    cli.screen.out.print()
    rows = [(each.id, status_text(each.status), each.name) for each in agents]
    cli.screen.table(("AGENT", "STATUS", "NAME"), rows, empty="There are no agents.")


def models(cli: Cli) -> None:
    """List the models that the key may ask."""
    with cli.gateway() as gateway:
        found = gateway.models()
    if cli.screen.as_json:
        cli.screen.document(found)
        return
    rows = [
        (
            each.id,
            each.owned_by,
            f"{each.context_window:,}" if each.context_window else "",
            ", ".join(each.capabilities),
        )
        for each in found
    ]
    empty = "No provider has a key yet: 'agent-gateway setup' asks for them. 'demo:tour' needs none."
    cli.screen.table(("MODEL", "PROVIDER", "CONTEXT#", "CAPABILITIES"), rows, empty=empty)


def _states(gateway: Gateway) -> dict[str, dict[str, int]]:
    """Counts the newest sessions and tasks by state, as far as the key may see them."""
    found: dict[str, dict[str, int]] = {"sessions": {}, "tasks": {}}
    for kind, items in (("sessions", gateway.sessions.list()), ("tasks", gateway.tasks.list(limit=LOOKED_AT))):
        try:
            for item in islice(items, LOOKED_AT):
                state = str(getattr(item, "state", None) or getattr(item, "status", ""))
                found[kind][state] = found[kind].get(state, 0) + 1
        except errors.Forbidden:
            continue
    return found
