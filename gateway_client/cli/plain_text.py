"""Text from models, tools and tenants, made harmless for a terminal.

A terminal obeys what it is sent: colours, but also titles, the clipboard, answers typed for the user. So no character
that is not printed passes. `Harmless` cleans what rich is about to print, after its Markdown has decoded entities.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.segment import Segment

BIDIRECTIONAL = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that show text in another order than it has."""

_UNSAFE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufff9-\ufffb\ud800-\udfff{BIDIRECTIONAL}]")
_UNSAFE_IN_JSON = re.compile(f"[\x7f-\x9f\u2028\u2029\ufff9-\ufffb\ud800-\udfff{BIDIRECTIONAL}]")


def clean(text: str) -> str:
    """Returns the text with visible signs in place of control characters, but for line feeds and tabs."""
    return _UNSAFE.sub(_visible, text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 200) -> str:
    """Returns the text on one line, cut to `limit` characters."""
    line = " ".join(clean(text[: 4 * limit]).split())
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 1] + "…"


def json_line(value: object) -> str:
    """Encodes a value on one line; what a terminal may obey is escaped, so it is the same value."""
    return _escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def json_document(value: object) -> str:
    """Encodes a value for people."""
    return _escaped(json.dumps(value, ensure_ascii=False, indent=2))


def _escaped(text: str) -> str:
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


class Harmless:
    """A renderable whose text is clean, whatever it renders."""

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._renderable, options):
            if segment.control or not _UNSAFE.search(segment.text):
                yield segment
            else:
                yield Segment(clean(segment.text), segment.style)


class HarmlessHook(RenderHook):
    """Makes everything harmless that a console prints."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return list(_harmless(renderables))


def _harmless(renderables: Iterable[ConsoleRenderable]) -> Iterable[ConsoleRenderable]:
    for renderable in renderables:
        yield Harmless(renderable)
