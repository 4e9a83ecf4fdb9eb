"""Documents of configuration that are changed in place: what all formats have in common.

A document keeps its text and changes as little of it as it can. After every change the caller compares what the text
means with what it should mean, by another parser where there is one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

from gateway_client.errors import GatewayError

Path = tuple[str, ...]
MISSING: Any = object()


class Document(Protocol):
    """A parsed text. Values are as JSON has them; a raw value is the text that it is written with."""

    text: str

    def value(self) -> dict[str, Any]:
        """Returns all of it."""

    def raw(self, path: Path) -> str:
        """Returns a value as it is written."""

    def set(self, path: Path, value: Any) -> None:
        """Sets a value; objects on the way are made."""

    def set_raw(self, path: Path, raw: str) -> None:
        """Puts a value back as it was written."""

    def remove(self, path: Path) -> None:
        """Removes a value with its name."""


class Unsafe(GatewayError):
    """The text is valid, and written in a way that this program does not change."""


def value_at(value: Any, path: Path) -> Any:
    """Returns what lies at the path, MISSING where nothing does."""
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


def with_value(whole: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Returns a copy with a value set (MISSING: removed)."""
    made = copy.deepcopy(whole)
    inner = made
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
        if not isinstance(inner, dict):
            raise Unsafe(f"'{'.'.join(path)}' is inside of something that is not an object.")
    if value is MISSING:
        inner.pop(path[-1], None)
    else:
        inner[path[-1]] = value
    return made


def checked_change(document: Document, wanted: dict[str, Any], change: Callable[[], None]) -> None:
    """Makes a change and compares its meaning. Raises Unsafe, with the text as it was."""
    before = document.text
    try:
        change()
        meant = document.value()
    except (GatewayError, ValueError, LookupError, TypeError) as error:
        document.text = before
        raise Unsafe(str(error)) from error
    if meant != wanted:
        document.text = before
        raise Unsafe("The change would mean something else.")


def newline_of(text: str) -> str:
    """Returns the line ending of a text."""
    return "\r\n" if "\r\n" in text else "\n"
