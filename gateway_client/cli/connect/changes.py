"""Changes of a document, with what it takes to undo them in a document that has changed since."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from gateway_client.cli.connect.document import MISSING, Document, Path, Unsafe, checked_change, value_at, with_value
from gateway_client.errors import GatewayError

FORMATS: Mapping[str, str] = {"json": "JsonDocument", "toml": "TomlDocument", "yaml": "YamlDocument"}
"""The class of each format, in the module of its name; loaded when it is used, because their libraries are slow."""


@dataclass(frozen=True, slots=True)
class Change:
    """A value to set. `item`: to add to the list there. `default`: only where there is none. `secret`: not shown."""

    path: Path
    value: Any
    item: bool = False
    default: bool = False
    secret: bool = False

    @property
    def name(self) -> str:
        return ".".join(self.path)


def document_open(kind: str, text: str) -> Document:
    """Parses a text. Raises GatewayError for one that is broken."""
    module = import_module(f"gateway_client.cli.connect.{kind}_document")
    try:
        document: Document = getattr(module, FORMATS[kind])(text)
        return document
    except ValueError as error:
        raise GatewayError(f"it is broken ({error})") from error


def changes_apply(document: Document, changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Makes the changes and returns the records that undo them. Raises Unsafe."""
    records = []
    for change in changes:
        whole = document.value()
        before = value_at(whole, change.path)
        if change.default and before is not MISSING:
            continue
        if change.item:
            records.append({"path": list(change.path), "item": change.value})
            value = [*(_list(before, change)), change.value]
        else:
            raw = None if before is MISSING else document.raw(change.path)
            records.append(
                {"path": list(change.path), "value": change.value, "made": _made(whole, change.path), "before": raw}
            )
            value = change.value
        if before != value:
            checked_change(document, with_value(whole, change.path, value), _setter(document, change.path, value))
    return records


def changes_revert(document: Document, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Undoes changes; returns the names of values that are somebody else's by now, which stay. Raises Unsafe."""
    kept = []
    for record in reversed(records):
        path = tuple(record["path"])
        now = value_at(document.value(), path)
        if "item" in record:
            if isinstance(now, list) and record["item"] in now:
                _item_remove(document, path, now, record["item"])
            elif now is not MISSING:
                kept.append(".".join(path))
        elif now == record["value"]:
            _value_restore(document, path, record)
        elif now is not MISSING:
            kept.append(".".join(path))
    return kept


def _item_remove(document: Document, path: Path, now: list[Any], item: Any) -> None:
    left = list(now)
    left.remove(item)
    if left:
        checked_change(document, with_value(document.value(), path, left), _setter(document, path, left))
    else:
        checked_change(document, with_value(document.value(), path, MISSING), _remover(document, path))


def _value_restore(document: Document, path: Path, record: Mapping[str, Any]) -> None:
    if record["before"] is not None:
        document.set_raw(path, record["before"])
        document.value()
        return
    checked_change(document, with_value(document.value(), path, MISSING), _remover(document, path))
    for depth in range(record["made"], len(path)) if record["made"] else ():
        parent = path[:depth]
        if _is_empty(value_at(document.value(), parent)):
            checked_change(document, with_value(document.value(), parent, MISSING), _remover(document, parent))
            return


def _is_empty(value: Any) -> bool:
    """True for an object without anything but such objects."""
    return isinstance(value, dict) and all(_is_empty(inner) for inner in value.values())


def _made(whole: dict[str, Any], path: Path) -> int:
    """Returns the length of the shortest path on the way that is not there yet, 0 when all of it is."""
    return next((depth for depth in range(1, len(path)) if value_at(whole, path[:depth]) is MISSING), 0)


def _list(before: Any, change: Change) -> list[Any]:
    if before in (MISSING, None):
        return []
    if not isinstance(before, list):
        raise Unsafe(f"'{change.name}' is not a list.")
    return before


def _setter(document: Document, path: Path, value: Any) -> Callable[[], None]:
    return lambda: document.set(path, value)


def _remover(document: Document, path: Path) -> Callable[[], None]:
    return lambda: document.remove(path)
