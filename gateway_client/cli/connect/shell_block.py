"""A marked block at the end of a shell's start-up file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway_client.cli.connect.document import newline_of

BEGIN, END = "# >>> agent-gateway >>>", "# <<< agent-gateway <<<"


def block_add(text: str, lines: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
    """Adds the block; returns the text and the record that removes it."""
    newline = newline_of(text)
    glue = newline if text and not text.endswith("\n") else ""
    block = glue + newline.join([BEGIN, *lines, END]) + newline
    return text + block, [{"block": block}]


def block_remove(text: str, records: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Removes the block, if it still is what was written; returns the text and what had to stay."""
    block = str(records[0]["block"])
    if text.count(block) == 1:
        return text.replace(block, ""), []
    whole = block.lstrip("\r\n")
    if text.count(whole) == 1:
        return text.replace(whole, ""), []
    return text, [f"the block between '{BEGIN}' and '{END}'"] if BEGIN in text else []


def export_lines(shell: str, variables: Mapping[str, str]) -> list[str]:
    """Returns the lines that export variables in this shell."""
    if shell == "fish":
        return [f"set -gx {name} {_fish_quote(value)}" for name, value in variables.items()]
    return [f"export {name}={_quote(value)}" for name, value in variables.items()]


def _quote(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _fish_quote(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
