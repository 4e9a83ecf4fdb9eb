"""The visible text of an HTML page, one line per block.

A one-pass scanner, because pages that tenants name may be hostile: the standard library's parser matches a tag of 1 MiB
in one search that holds the interpreter for half a second, loses a trailing text with an `&`, and raises on some
declarations. Unterminated markup swallows the rest of the page, as in browsers.
"""

from __future__ import annotations

import re
from collections import Counter
from html import unescape

from core_app.content_threads import Deadline

_RAW = frozenset({"script", "style"})
_SILENT = frozenset({"head", "noscript", "svg", "template"})
_BLOCKS = frozenset(
    {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "pre", "td"}
)
_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
_QUOTE_OR_END = re.compile("[>\"']")
_END_OF = {name: re.compile(rf"</{name}", re.IGNORECASE) for name in _RAW}
_DECIMAL = re.compile("&#0*([0-9]+)")
_DECIMAL_DIGITS = 8
"""Digits kept of a character reference. No character needs more, and `unescape` raises on thousands of digits."""


def page_text(page: str, deadline: Deadline | None = None) -> str:
    """The visible text; empty when there is none. Raises TimeoutError at the deadline."""
    parts = _Scanner(page).parts(deadline or Deadline())
    text = _DECIMAL.sub(lambda found: "&#" + found.group(1)[:_DECIMAL_DIGITS], "".join(parts))
    lines = (" ".join(line.split()) for line in unescape(text).splitlines())
    return "\n".join(line for line in lines if line)


class _Scanner:
    def __init__(self, page: str) -> None:
        self._page = page
        self._at = 0
        self._parts: list[str] = []
        self._silent: list[str] = []
        self._open: Counter[str] = Counter()
        """Number of open tags per name in `_silent`, which may be a hundred thousand deep."""

    def parts(self, deadline: Deadline) -> list[str]:
        """The visible texts, in order."""
        page, end = self._page, len(self._page)
        while self._at < end:
            deadline.check()
            start = page.find("<", self._at)
            self._say(page[self._at : start if start >= 0 else end])
            if start < 0:
                break
            self._at = self._past(start)
        return self._parts

    def _past(self, start: int) -> int:
        """The index after the markup that starts with the `<` at `start`."""
        page = self._page
        if page.startswith("<!--", start):
            return self._after("-->", start + 4)
        if page.startswith(("<!", "<?"), start):
            return self._after(">", start)
        named = _NAME.match(page, start + 1)
        if named is None:
            self._say("<")
            return start + 1
        end = self._tag_end(named.end())
        self._tag(named.group(1).lower(), closing=page[start + 1] == "/", empty=page.endswith("/", start, end - 1))
        if (raw := _END_OF.get(named.group(1).lower())) is not None and page[start + 1] != "/":
            found = raw.search(page, end)
            return found.start() if found is not None else len(page)
        return end

    def _after(self, mark: str, start: int) -> int:
        found = self._page.find(mark, start)
        return found + len(mark) if found >= 0 else len(self._page)

    def _tag_end(self, at: int) -> int:
        """The place after the `>` of a tag; one within a quoted value does not count."""
        page = self._page
        while (found := _QUOTE_OR_END.search(page, at)) is not None:
            at = found.end()
            if found.group() == ">":
                return at
            if self._begins_value(found.start()):
                at = self._after(found.group(), at)
        return len(page)

    def _begins_value(self, quote: int) -> bool:
        before = quote - 1
        while self._page[before].isspace():
            before -= 1
        return self._page[before] == "="

    def _tag(self, name: str, *, closing: bool, empty: bool) -> None:
        if name == "body" or (name in _BLOCKS and self._silent == ["head"]):
            # The end of a head may be left out.
            self._silent.clear()
            self._open.clear()
        if name in _BLOCKS:
            self._say("\n")
        elif name in _SILENT and not closing and not empty:
            self._silent.append(name)
            self._open[name] += 1
        elif self._open[name]:
            self._close(name)

    def _close(self, name: str) -> None:
        """Ends the innermost of that name, and what was left open in it."""
        ended = ""
        while ended != name:
            ended = self._silent.pop()
            self._open[ended] -= 1

    def _say(self, text: str) -> None:
        if not self._silent:
            self._parts.append(text)
