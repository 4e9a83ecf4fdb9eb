"""`usage` and `quota`: what was used, and what is left."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from gateway_client.cli.command import Cli, command
from gateway_client.results import UsageRow

BAR = 20
EIGHTHS = " ▏▎▍▌▋▊▉█"
GROUPS = ("day", "model", "key")


def register(app: typer.Typer) -> None:
    command(app)(usage)
    command(app)(quota)


def usage(
    cli: Cli,
    by: Annotated[str, typer.Option("--by", help="A comma list of day, model and key.")] = "day",
    start: Annotated[str | None, typer.Option("--from", metavar="DAY", help="The first day, as 2026-01-31.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last day.")] = None,
    end_user: Annotated[str | None, typer.Option("--end-user", help="Only this end user's.")] = None,
) -> None:
    """Report the tenant's tokens and costs."""
    groups = [each.strip() for each in by.split(",")]
    if wrong := [each for each in groups if each not in GROUPS]:
        raise typer.BadParameter(f"--by takes {', '.join(GROUPS)}, not '{wrong[0]}'")
    with cli.gateway() as gateway:
        rows = gateway.usage(start=start, end=end, group_by=",".join(groups), end_user=end_user)
    if cli.screen.as_json:
        cli.screen.document(rows)
        return
    most = max((_tokens(row) for row in rows), default=0)
    shown: list[tuple[str | Text, ...]] = [
        (*(str(getattr(row, group) or "") for group in groups), *_numbers(row), _cost(row), bar(_tokens(row), most))
        for row in rows
    ]
    if len(rows) > 1:
        total = ["" for _ in groups]
        total[0] = "total"
        shown.append((*total, *_numbers(*rows), _cost(*rows), Text("")))
    columns = (*(group.upper() for group in groups), "PROMPTS#", "TOKENS IN#", "TOKENS OUT#", "COST#", "")
    cli.screen.table(columns, shown, empty="Nothing was used in these days.")


def quota(cli: Cli) -> None:
    """Show what is left at the providers, as far as they tell. It needs a key with the scope 'platform'."""
    with cli.gateway() as gateway:
        found = gateway.quota()
    if cli.screen.as_json:
        cli.screen.document(found)
        return
    rows = [(provider, _quota_text(left)) for provider, left in found.items()]
    cli.screen.table(("PROVIDER", "LEFT"), rows, empty="No provider tells what is left.")


def bar(value: float, most: float) -> Text:
    """Returns a bar of up to BAR characters; what is more than nothing is visible."""
    eighths = round(BAR * 8 * value / most) if most else 0
    eighths = max(eighths, 1) if value > 0 else 0
    return Text(EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8].strip(), style="cyan")


def _tokens(row: UsageRow) -> int:
    return row.prompt_tokens + row.completion_tokens


def _numbers(*rows: UsageRow) -> tuple[str, str, str]:
    return (
        f"{sum(row.prompts for row in rows):,}",
        f"{sum(row.prompt_tokens for row in rows):,}",
        f"{sum(row.completion_tokens for row in rows):,}",
    )


def _cost(*rows: UsageRow) -> str:
    known = all(row.cost_known for row in rows)
    return f"${sum(row.cost_usd for row in rows):.4f}{'' if known else ' or more'}"


def _quota_text(left: Any) -> str:
    if isinstance(left, dict):
        return ", ".join(f"{name} {value}" for name, value in left.items() if not isinstance(value, (dict, list)))
    return json.dumps(left)
