"""JSON with comments and trailing commas, changed in place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from gateway_client.cli.connect.document import Path, Unsafe, newline_of

DEEPEST = 100
_SKIPPED = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCALAR = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


@dataclass(slots=True)
class Node:
    """A value with its place in the text; an object has members."""

    start: int
    end: int
    value: Any
    members: list[Member] = field(default_factory=list)

    @property
    def is_object(self) -> bool:
        return isinstance(self.value, dict)


@dataclass(slots=True)
class Member:
    """A member of an object; `comma` is the place of the comma behind it, None without one."""

    name: str
    start: int
    node: Node
    comma: int | None = None


class JsonDocument:
    """A text whose root is an object; an empty text is an empty one."""

    def __init__(self, text: str) -> None:
        self.text = text if text.strip("\ufeff \t\r\n") else "{}" + newline_of(text)
        self._root()

    def value(self) -> dict[str, Any]:
        value: dict[str, Any] = self._root().value
        return value

    def raw(self, path: Path) -> str:
        node = self._found(path)[-1].node
        return self.text[node.start : node.end]

    def set(self, path: Path, value: Any) -> None:
        root = self._root()
        found = self._members(root, path)
        if len(found) == len(path):
            indent = self._indent_at(found[-1].start)
            self._splice(found[-1].node.start, found[-1].node.end, self._encoded(value, indent))
            return
        inner = found[-1].node if found else root
        if not inner.is_object:
            raise Unsafe(f"'{'.'.join(path[: len(found)])}' is not an object.")
        for name in reversed(path[len(found) + 1 :]):
            value = {name: value}
        self._insert(inner, path[len(found)], value)

    def set_raw(self, path: Path, raw: str) -> None:
        node = self._found(path)[-1].node
        self._splice(node.start, node.end, raw)

    def remove(self, path: Path) -> None:
        parent = self._root() if len(path) == 1 else self._found(path[:-1])[-1].node
        index = [member.name for member in parent.members].index(path[-1])
        member, before = parent.members[index], parent.members[index - 1] if index else None
        start = member.start
        blank = self.text[:start].rstrip(" \t")
        if blank.endswith("\n"):
            start = len(blank[:-1].removesuffix("\r"))
        end = member.node.end if member.comma is None else member.comma + 1
        if not blank.endswith("\n"):  # on a line with others
            start = before.node.end if before and member.comma is None else start
            end += len(self.text[end:]) - len(self.text[end:].lstrip(" \t")) if member.comma is not None else 0
        self._splice(start, end, "")
        if before and member.comma is None and before.comma is not None and before.comma < start:
            self._splice(before.comma, before.comma + 1, "")
        if len(parent.members) == 1:
            self._close_up(path[:-1])

    def _close_up(self, path: Path) -> None:
        """Writes an object without members and comments as `{}`."""
        node = self._found(path)[-1].node if path else self._root()
        if not self.text[node.start + 1 : node.end - 1].strip():
            self._splice(node.start, node.end, "{}")

    def _insert(self, node: Node, name: str, value: Any) -> None:
        newline = newline_of(self.text)
        base = self._indent_at(node.start)
        inside = self.text[node.start + 1 : node.end - 1]
        if not node.members:
            indent = base + self._unit()
            member = f"{newline}{indent}{json.dumps(name, ensure_ascii=False)}: {self._encoded(value, indent)}"
            tail = "" if "\n" in inside else newline + base
            self._splice(
                node.start + 1,
                node.start + 1 + (0 if inside.strip() else len(inside)),
                member + (tail if inside.strip() else newline + base),
            )
            return
        last = node.members[-1]
        if "\n" not in self.text[node.start : node.members[0].start]:
            added = f", {json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"
            place = last.node.end
            self._splice(place, place if last.comma is None else last.comma + 1, added)
            return
        indent = self._indent_at(node.members[0].start)
        member = f"{newline}{indent}{json.dumps(name, ensure_ascii=False)}: {self._encoded(value, indent)}"
        if last.comma is not None:
            place = self._line_end(last.comma + 1, node.end - 1)
            self._splice(place, place, member + ",")
        else:
            place = self._line_end(last.node.end, node.end - 1)
            self._splice(place, place, member)
            self._splice(last.node.end, last.node.end, ",")

    def _line_end(self, position: int, limit: int) -> int:
        """Returns the end of the line behind a value, with the comments on it."""
        rest = re.compile(r"(?:[ \t]+|//[^\r\n]*|/\*[^\r\n]*?\*/)*").match(self.text, position, limit)
        end = rest.end() if rest else position
        return end if self.text[end : end + 1] in ("\r", "\n") else position

    def _indent_at(self, position: int) -> str:
        line = self.text[self.text.rfind("\n", 0, position) + 1 : position]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def _unit(self) -> str:
        found = re.search(r"\n([ \t]+)\S", self.text)
        return found[1] if found else "  "

    def _encoded(self, value: Any, indent: str) -> str:
        lines = json.dumps(value, ensure_ascii=False, indent=self._unit()).split("\n")
        return (newline_of(self.text) + indent).join(lines)

    def _splice(self, start: int, end: int, text: str) -> None:
        self.text = self.text[:start] + text + self.text[end:]

    def _found(self, path: Path) -> list[Member]:
        found = self._members(self._root(), path)
        if len(found) < len(path):
            raise LookupError(".".join(path))
        return found

    def _members(self, node: Node, path: Path) -> list[Member]:
        """Returns the members on the way, as far as there are any."""
        found: list[Member] = []
        for name in path:
            same = [member for member in node.members if member.name == name]
            if len(same) > 1:
                raise Unsafe(f"'{name}' is there twice.")
            if not same:
                break
            found.append(same[0])
            node = same[0].node
        return found

    def _root(self) -> Node:
        node = _Parser(self.text).document()
        if not node.is_object:
            raise Unsafe("It is not an object.")
        return node


class _Parser:
    """Reads a text into nodes. Raises ValueError for what is not JSON with comments."""

    def __init__(self, text: str) -> None:
        self._text = text

    def document(self) -> Node:
        node = self._node(self._skip(0), 0)
        if self._skip(node.end) != len(self._text):
            raise ValueError(f"it goes on after its end (line {self._line(node.end)})")
        return node

    def _node(self, at: int, depth: int) -> Node:
        if depth > DEEPEST:
            raise ValueError("it is nested too deep")
        if self._text[at : at + 1] == "{":
            return self._object(at, depth)
        if self._text[at : at + 1] == "[":
            return self._array(at, depth)
        if self._text[at : at + 1] == '"':
            value, end = scanstring(self._text, at + 1, False)
            return Node(at, end, value)
        found = _SCALAR.match(self._text, at)
        if found is None:
            raise ValueError(f"line {self._line(at)} is not JSON")
        return Node(at, found.end(), json.loads(found[0]))

    def _object(self, at: int, depth: int) -> Node:
        node, at = Node(at, at, {}), self._skip(at + 1)
        while self._text[at : at + 1] != "}":
            if self._text[at : at + 1] != '"':
                raise ValueError(f"line {self._line(at)} is not JSON: a name is missing")
            name, end = scanstring(self._text, at + 1, False)
            colon = self._skip(end)
            if self._text[colon : colon + 1] != ":":
                raise ValueError(f"line {self._line(colon)} is not JSON: a colon is missing")
            member = Member(name, at, self._node(self._skip(colon + 1), depth + 1))
            node.members.append(member)
            node.value[name] = member.node.value
            at = self._skip(member.node.end)
            if self._text[at : at + 1] == ",":
                member.comma, at = at, self._skip(at + 1)
            elif self._text[at : at + 1] != "}":
                raise ValueError(f"line {self._line(at)} is not JSON: a comma is missing")
        node.end = at + 1
        return node

    def _array(self, at: int, depth: int) -> Node:
        node, at = Node(at, at, []), self._skip(at + 1)
        while self._text[at : at + 1] != "]":
            item = self._node(at, depth + 1)
            node.value.append(item.value)
            at = self._skip(item.end)
            if self._text[at : at + 1] == ",":
                at = self._skip(at + 1)
            elif self._text[at : at + 1] != "]":
                raise ValueError(f"line {self._line(at)} is not JSON: a comma is missing")
        node.end = at + 1
        return node

    def _skip(self, at: int) -> int:
        found = _SKIPPED.match(self._text, at)
        return found.end() if found else at

    def _line(self, at: int) -> int:
        return self._text.count("\n", 0, at) + 1
