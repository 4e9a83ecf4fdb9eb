"""`connect` and `disconnect` on the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.text import Text

from gateway_client import errors
from gateway_client.cli.command import Cli, command
from gateway_client.cli.connect.connection import (
    Plan,
    connection_make,
    connection_plan,
    connection_undo,
    is_readable_by_others,
)
from gateway_client.cli.connect.journal import Journal
from gateway_client.cli.connect.programs import PROGRAMS, Program, Target
from gateway_client.cli.keys import key_wait
from gateway_client.cli.settings import KEY_VARIABLE
from gateway_client.errors import GatewayError

LIST, ALL = "list", "all"
ToolsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TOOL…",
        help=f"{', '.join(PROGRAMS)}, or all.",
        show_default=False,
        autocompletion=lambda incomplete: [name for name in (*PROGRAMS, ALL) if name.startswith(incomplete)],
    ),
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one program's turn. `status` is `connected`, `unchanged`, `planned`, `skipped`, `disconnected`,
    `by_hand`, `impossible` or `failed`."""

    tool: str
    status: str
    path: str | None = None
    detail: str = ""


def register(app: typer.Typer) -> None:
    command(app)(connect)
    command(app)(disconnect)


def connect(
    cli: Cli,
    tools: ToolsArgument = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="The model that they use.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Ask before each.")] = False,
) -> None:
    """Make coding assistants use the gateway: writes its address and your key into their configuration.

    'connect list' shows the tools. Their files keep what they have besides; 'disconnect' puts them back.
    """
    if tools == [LIST] or (not tools and not interactive):
        _list(cli)
        return
    chosen = _chosen(tools or [ALL], found_only=tools in (None, [ALL]))
    if interactive and not cli.screen.interactive:
        raise typer.BadParameter("--interactive needs a terminal")
    if not cli.settings.api_key:
        raise GatewayError(f"There is no key to write: set {KEY_VARIABLE}.")
    target = _target(cli, model, chosen)
    journal = Journal()
    outcomes = []
    for program in chosen:
        outcome = _connect_one(cli, program, target, journal, dry_run=dry_run, ask=interactive)
        outcomes.append(outcome)
        _tell(cli, outcome)
    _end(cli, outcomes, failing=("failed",) if tools in (None, [ALL]) else ("failed", "impossible"))


def disconnect(cli: Cli, tools: ToolsArgument = None) -> None:
    """Put the configuration of connected tools back; without names, of all of them."""
    journal = Journal()
    names = list(journal.entries) if tools in (None, [], [ALL]) else [program.name for program in _chosen(tools or [])]
    outcomes = []
    for name in names:
        outcome = _disconnect_one(name, journal)
        outcomes.append(outcome)
        _tell(cli, outcome)
    if not names and not cli.screen.as_json:
        cli.screen.note("Nothing is connected.")
    _end(cli, outcomes, failing=("failed",))


def _list(cli: Cli) -> None:
    journal = Journal()
    rows = []
    for program in PROGRAMS.values():
        entry = journal.entries.get(program.name)
        state = "connected" if entry else "impossible" if program.impossible else "by hand" if program.by_hand else ""
        rows.append((program.name, program.is_found, state, entry.path if entry else _path_text(program)))
    if cli.screen.as_json:
        keys = ("tool", "found", "state", "path")
        cli.screen.document([dict(zip(keys, row, strict=True)) for row in rows])
        return
    shown: list[tuple[str | Text, ...]] = [
        (name, Text("yes", style="green") if found else "no", state, path) for name, found, state, path in rows
    ]
    cli.screen.table(("TOOL", "FOUND HERE", "STATE", "FILE"), shown, empty="")


def _path_text(program: Program) -> str:
    try:
        return str(program.path()) if program.kind else ""
    except GatewayError as error:
        return str(error)


def _chosen(names: list[str], *, found_only: bool = False) -> list[Program]:
    if ALL in names and len(names) > 1:
        raise typer.BadParameter(f"'{ALL}' stands alone")
    if unknown := [name for name in names if name not in PROGRAMS and name != ALL]:
        raise typer.BadParameter(f"'{unknown[0]}' is not one of {', '.join(PROGRAMS)}")
    if names != [ALL]:
        return [PROGRAMS[name] for name in dict.fromkeys(names)]
    # The shell concerns every program that is started from it: it is connected by name only.
    found = [each for each in PROGRAMS.values() if each.name != "shell" and (each.is_found or not found_only)]
    if not found:
        raise GatewayError("None of the tools is on this machine: name the one to write the configuration of.")
    return found


def _target(cli: Cli, model: str | None, chosen: list[Program]) -> Target:
    settings = cli.settings
    offered: list[str] = []
    if any(program.needs_model for program in chosen):
        try:
            with cli.gateway() as gateway:
                offered = [each.id for each in gateway.models()]
        except errors.GatewayError:
            if model is None and settings.model is None:
                raise
    return Target(settings.url, settings.api_key, model or settings.model, offered)


def _connect_one(cli: Cli, program: Program, target: Target, journal: Journal, *, dry_run: bool, ask: bool) -> Outcome:
    if program.impossible:
        return Outcome(program.name, "impossible", detail=program.impossible)
    if program.by_hand is not None:
        return Outcome(program.name, "by_hand", detail=program.by_hand(target))
    try:
        plan = connection_plan(program, _with_model(program, target), journal)
        path = str(plan.state.path)
        if plan.is_done:
            return Outcome(program.name, "unchanged", path)
        if dry_run or ask:
            _plan_show(cli, plan)
        if dry_run:
            return Outcome(program.name, "planned", path)
        if ask and not _agreed(cli, program):
            return Outcome(program.name, "skipped", path)
        connection_make(plan, journal)
    except GatewayError as error:
        return Outcome(program.name, "failed", detail=str(error))
    notes = [program.warning(os.environ)]
    if is_readable_by_others(plan.state.path):
        notes.append("others can read this file, which has your key now: chmod 600 it")
    return Outcome(program.name, "connected", path, " ".join(note for note in notes if note))


def _with_model(program: Program, target: Target) -> Target:
    if not program.needs_model or target.model or any(model.startswith(program.own_models) for model in target.models):
        return target
    if not target.models:
        raise GatewayError(f"{program.title} needs a model, and the gateway offers none yet: name one with --model.")
    return Target(target.url, target.api_key, target.models[0], target.models)


def _disconnect_one(name: str, journal: Journal) -> Outcome:
    entry = journal.entries.get(name)
    if entry is None:
        return Outcome(name, "unchanged", detail="it is not connected")
    try:
        kept = connection_undo(name, journal)
    except GatewayError as error:
        return Outcome(name, "failed", entry.path, str(error))
    detail = f"left as they are, because they were changed since: {', '.join(kept)}" if kept else ""
    return Outcome(name, "disconnected", entry.path, detail)


def _plan_show(cli: Cli, plan: Plan) -> None:
    if cli.screen.as_json:
        return
    cli.screen.note(f"{plan.state.path}", "bold")
    for change in plan.changes:
        value: Any = change.value
        if change.secret:
            value = {**value, "apiKey": "…"} if isinstance(value, dict) else "…"
        cli.screen.note(f"  {change.name} {'+=' if change.item else '='} {value}", "")


def _agreed(cli: Cli, program: Program) -> bool:
    question = f"Connect {program.title}? [y] yes, [n] no"
    return key_wait(lambda: cli.screen.note(question, "bold"), "yn", lambda: False) == "y"


def _tell(cli: Cli, outcome: Outcome) -> None:
    if cli.screen.as_json:
        return
    if outcome.status == "failed":
        cli.screen.fail(f"{outcome.tool}: {outcome.detail}")
        return
    parts = [f"{outcome.tool}: {outcome.status.replace('_', ' ')}", outcome.path or "", outcome.detail]
    cli.screen.note(", ".join(part for part in parts if part), "")


def _end(cli: Cli, outcomes: list[Outcome], failing: tuple[str, ...]) -> None:
    if cli.screen.as_json:
        cli.screen.document({"tools": outcomes})
    if any(outcome.status in failing for outcome in outcomes):
        raise typer.Exit(1)
