"""TOML, changed in place by tomlkit and read by Python's own parser."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from gateway_client.cli.connect.document import Path, Unsafe, newline_of


class TomlDocument:
    """A text with tables."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.value()
        if tomlkit.dumps(self._parsed()) != text:
            raise Unsafe("It cannot be written back as it is.")

    def value(self) -> dict[str, Any]:
        return tomllib.loads(self.text.replace("\r\n", "\n"))

    def raw(self, path: Path) -> str:
        inner: Any = self._parsed()
        for name in path[:-1]:
            inner = inner[name]
        return str(inner.item(path[-1]).as_string())

    def set(self, path: Path, value: Any) -> None:
        self._put(path, tomlkit.item(value))

    def set_raw(self, path: Path, raw: str) -> None:
        self._put(path, tomlkit.value(raw))

    def remove(self, path: Path) -> None:
        document = self._parsed()
        inner: Any = document
        for name in path[:-1]:
            inner = inner[name]
        inner.remove(path[-1])
        self._take(document)

    def _put(self, path: Path, item: Any) -> None:
        if len(path) > 1:
            self._table_make(path[:-1])
        document = self._parsed()
        inner: Any = document
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = item
        self._take(document)

    def _table_make(self, path: Path) -> None:
        """Makes a table that is not there yet, with blank lines around it."""
        document = self._parsed()
        inner: Any = document
        is_new = False
        for depth, name in enumerate(path):
            if name not in inner:
                is_new = True
                # A table of tables has no line of its own.
                inner.add(name, tomlkit.table(is_super_table=depth < len(path) - 1))
            inner = inner[name]
            if not isinstance(inner, (Table, dict)):
                raise Unsafe(f"'{name}' is not a table.")
        if is_new:
            self._take(document)
            self._set_off(f"[{'.'.join(path)}]")

    def _set_off(self, header: str) -> None:
        newline, meant, text = newline_of(self.text), self.value(), self.text
        before, found, after = text.rpartition(header + newline)
        if before and not before.endswith(2 * newline):
            before += newline if before.endswith(newline) else 2 * newline
        if after and not after.startswith(newline):
            after = newline + after
        self.text = before + found + after
        if not found or self.value() != meant:  # the header is in some text, too
            self.text = text

    def _parsed(self) -> tomlkit.TOMLDocument:
        try:
            return tomlkit.parse(self.text)
        except TOMLKitError as error:
            raise ValueError(str(error)) from error

    def _take(self, document: tomlkit.TOMLDocument) -> None:
        text = tomlkit.dumps(document)
        if newline_of(self.text) == "\r\n" and not re.search(r"(?<!\r)\n", self.text):
            text = re.sub(r"(?<!\r)\n", "\r\n", text)
        self.text = text
