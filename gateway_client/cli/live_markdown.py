"""Markdown as it is written: blocks that are finished are printed for good, the last one is drawn again and again.

So the text can be scrolled and copied, and what has to be drawn stays small.
"""

from __future__ import annotations

import re

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from gateway_client.cli.plain_text import Harmless, clean

LONGEST_BLOCK = 8_000
"""Characters of a block, after which it is printed although it is not finished: drawing takes time in proportion."""

_FENCE = re.compile(r" {0,3}(```+|~~~+)")


def markdown(text: str) -> RenderableType:
    """Returns the rendered text. Links show where they lead."""
    from rich.markdown import Markdown  # noqa: PLC0415  (slow to import)

    return Harmless(Markdown(clean(text), hyperlinks=False))


def finished_split(text: str) -> tuple[str, str]:
    """Splits the text after its last finished block: before a line that begins at the margin after a blank line, and
    outside of fenced code."""
    fence, split, blank, position = "", 0, False, 0
    for line in text.splitlines(keepends=True):
        if found := _FENCE.match(line):
            if not fence:
                fence = found[1]
            elif found[1][0] == fence[0] and len(found[1]) >= len(fence) and not line.strip(" `~\n"):
                fence, blank, position = "", False, position + len(line)
                continue
        if blank and not line[0].isspace() and (not fence or found):
            split = position
        blank = not fence and not line.strip()
        position += len(line)
    return text[:split], text[split:]


class MarkdownWriter:
    """The text of one message. `tail` is drawn by who owns the screen's live part."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = ""
        self._is_first = True

    @property
    def tail(self) -> RenderableType:
        return Tail(self._text) if self._text.strip() else Text("")

    def feed(self, delta: str) -> None:
        """Adds text, and prints the blocks that are finished by it."""
        finished, self._text = finished_split(self._text + delta)
        if len(self._text) > LONGEST_BLOCK:
            end = self._text.rfind("\n", 0, LONGEST_BLOCK) + 1 or self._text.rfind(" ", 0, LONGEST_BLOCK) + 1
            end = end or LONGEST_BLOCK
            self._print(finished)
            finished, self._text = self._text[:end], self._text[end:]
            self._print(finished)
            self._is_first = True  # the rest is of the same block
            return
        self._print(finished)

    def finish(self) -> None:
        """Prints the rest."""
        self._print(self._text)
        self._text, self._is_first = "", True

    def discard(self) -> None:
        """Forgets what is not printed yet."""
        self._text, self._is_first = "", True

    def _print(self, text: str) -> None:
        if text.strip():
            if not self._is_first:
                self._console.print()
            self._console.print(markdown(text))
            self._is_first = False


class Tail:
    """The last lines of a block, as many as the screen has."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(markdown(self._text), options.update(height=None), pad=False)
        for line in lines[-max(console.height - 3, 1) :]:
            yield from line
            yield Segment.line()
