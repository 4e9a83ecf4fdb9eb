"""The terminal as commands write to it: results to standard output, everything else to standard error.

With `--json` standard output has JSON alone: a document, or a line per item of a stream.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gateway_client.cli.plain_text import HarmlessHook, clean, json_document, json_line

WIDE = 100_000
"""The width where nobody reads along: a pipe gets whole lines."""


class Screen:
    """Both outputs of a command. `interactive`: a person is at both ends."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = console(sys.stdout)
        self.err = console(sys.stderr)
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json

    def document(self, value: Any) -> None:
        """Writes the command's JSON document."""
        self._write(json_document(msgspec.to_builtins(value)))

    def line(self, value: Any) -> None:
        """Writes an item of a stream as a line of JSON."""
        self._write(json_line(msgspec.to_builtins(value)))

    def text(self, text: str) -> None:
        """Writes text as it is, but for control characters."""
        self.out.print(Text(clean(text)), soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        self.out.print(renderable)

    def note(self, text: str, style: str = "dim") -> None:
        """Tells something beside the result."""
        self.err.print(Text(clean(text), style=style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, empty: str) -> None:
        """Writes a table; columns whose name ends with `#` are numbers. Without rows it tells `empty`."""
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in columns:
            numbers = column.endswith("#")
            table.add_column(column.rstrip("#"), justify="right" if numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row))
        if table.row_count:
            self.show(table)
        else:
            self.note(empty)

    def fields(self, pairs: Iterable[tuple[str, str | Text]]) -> None:
        """Writes names with their values."""
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in pairs:
            table.add_row(name, value if isinstance(value, Text) else Text(clean(value)))
        self.show(table)

    def fail(self, message: str, code: str = "error") -> None:
        """Tells the reason of a failure, as JSON when the results would be."""
        if self.as_json:
            sys.stderr.write(json_line({"error": {"code": code, "message": message}}) + "\n")
        else:
            self.err.print(Text.assemble(("Error: ", "bold red"), clean(message)), soft_wrap=True)

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def console(file: TextIO) -> Console:
    """Returns a console that prints no control sequence but its own."""
    made = Console(file=file, highlight=False, markup=False, emoji=False, width=None if file.isatty() else WIDE)
    made.push_render_hook(HarmlessHook())
    return made
