"""Approvals and questions at the terminal: shown in full, answered with a key."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from rich.panel import Panel
from rich.text import Text

from gateway_client.cli.keys import key_wait, line_ask
from gateway_client.cli.plain_text import clean, one_line
from gateway_client.cli.screen import Screen
from gateway_client.replies import Decision

SHOWN_LINES = 30
KEYS = "123456789"


def args_text(args: Any) -> str:
    """Returns a call's arguments for people, whatever they are."""
    return clean(json.dumps(args, ensure_ascii=False, indent=2))


def approval_ask(
    screen: Screen, tool: str, args: Any, hint: str | None, is_over: Callable[[], bool]
) -> Decision | None:
    """Asks whether a call may be made. None: it was decided elsewhere, or the person leaves it open."""
    lines = args_text(args).splitlines()
    _approval_show(screen, tool, lines[:SHOWN_LINES], len(lines) - SHOWN_LINES, hint)
    more = ", [v] show all" if len(lines) > SHOWN_LINES else ""
    choice = Text(
        f"[y] approve, [a] always for this tool, [n] reject, [r] reject with a reason, [l] leave open{more} ",
        style="bold",
    )
    while True:
        key = key_wait(lambda: screen.err.print(choice), "yanrl" + ("v" if more else ""), is_over)
        if key == "v":
            _approval_show(screen, tool, lines, 0, hint)
        elif key == "r":
            return Decision(approve=False, reason=line_ask("Reason: ").strip() or None)
        elif key in ("y", "a", "n"):
            return Decision(approve=key != "n", remember=key == "a")
        else:
            return None


def question_ask(
    screen: Screen, question: str, options: Sequence[dict[str, str]], is_over: Callable[[], bool]
) -> str | None:
    """Asks a question; returns the text, or the id of an option. None as in `approval_ask`."""
    body = Text(clean(question))
    for key, option in zip(KEYS, options, strict=False):
        body.append(f"\n[{key}] ", style="bold").append(one_line(option.get("label") or option["id"]))
    screen.err.print(Panel(body, title="Question", title_align="left", border_style="cyan"))
    if not options:
        return line_ask("Answer: ").strip() or None
    if len(options) > len(KEYS):
        return _option_by_name(screen, options)
    keys = KEYS[: len(options)]
    choice = Text(f"[{keys[0]}–{keys[-1]}] choose, [l] leave open ", style="bold")
    chosen = key_wait(lambda: screen.err.print(choice), keys + "l", is_over)
    return None if chosen in (None, "l") else options[keys.index(str(chosen))]["id"]


def _option_by_name(screen: Screen, options: Sequence[dict[str, str]]) -> str | None:
    for option in options:
        screen.err.print(Text(f"{one_line(option['id'])}  {one_line(option.get('label', ''))}"))
    ids = {option["id"] for option in options}
    while (answer := line_ask("Answer (empty leaves it open): ").strip()) and answer not in ids:
        screen.note("That is not one of the answers.")
    return answer or None


def _approval_show(screen: Screen, tool: str, lines: Sequence[str], hidden: int, hint: str | None) -> None:
    body = Text("\n".join(lines))
    if hidden > 0:
        body.append(f"\n… {hidden} more lines", style="bold red")
    if hint:
        body.append(f"\n{clean(hint)}", style="italic")
    title = Text(f"Approval: {one_line(tool)}")
    screen.err.print(Panel(body, title=title, title_align="left", border_style="yellow"))
