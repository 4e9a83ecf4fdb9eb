"""YAML whose root is a block mapping, changed in place: scalars of the root, and items of its lists.

PyYAML tells where each node lies; only the lines of what changes are touched.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from gateway_client.cli.connect.document import Path, Unsafe, newline_of


class YamlDocument:
    """A text with one document. A path has one name; a list is set as a whole when it only grew or shrank by one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.value()
        root = self._root()
        if root is not None and root.flow_style:
            raise Unsafe("It is written on one line.")
        if any(line.startswith(("...", "---")) for line in text.splitlines()[1:]):
            raise Unsafe("It has several documents.")

    def value(self) -> dict[str, Any]:
        try:
            found = yaml.safe_load(self.text)
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError(f"it is not YAML: {str(error).splitlines()[0]}") from error
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise Unsafe("It is not a mapping.")
        return found

    def raw(self, path: Path) -> str:
        _, node = self._pair(path)
        return self.text[node.start_mark.index : node.end_mark.index]

    def set(self, path: Path, value: Any) -> None:
        if isinstance(value, list):
            self._set_list(path, value)
        elif path[-1] in self.value():
            self.set_raw(path, _scalar(value))
        else:
            self._append(f"{path[-1]}: {_scalar(value)}")

    def set_raw(self, path: Path, raw: str) -> None:
        key, node = self._pair(path)
        if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
            raise Unsafe(f"'{path[-1]}' is not a plain value.")
        start, end = node.start_mark.index, node.end_mark.index
        if start == end:  # a name without a value
            start = end = self.text.index(":", key.end_mark.index) + 1
            raw = f" {raw}" if raw else raw
        elif not raw:
            start -= 1
        self.text = self.text[:start] + raw + self.text[end:]

    def remove(self, path: Path) -> None:
        key, node = self._pair(path)
        self._cut_lines(key.start_mark.index, _end(node))

    def _set_list(self, path: Path, value: list[Any]) -> None:
        if path[-1] not in self.value():
            self._append(newline_of(self.text).join([f"{path[-1]}:", *(_item_lines(value[-1], "  "))]))
            return
        _, node = self._pair(path)
        now = self.value()[path[-1]] or []
        if not isinstance(now, list):
            raise Unsafe(f"'{path[-1]}' is not a list.")
        if value[:-1] == now:
            self._add_item(path, node, value[-1])
            return
        gone = next((index for index in range(len(now)) if now[:index] + now[index + 1 :] == value), None)
        if gone is None or not isinstance(node, yaml.SequenceNode) or node.flow_style:
            raise Unsafe(f"'{path[-1]}' is written in another way.")
        item = node.value[gone]
        self._cut_lines(self.text.rindex("-", 0, item.start_mark.index), _end(item))

    def _add_item(self, path: Path, node: yaml.Node, item: Any) -> None:
        newline = newline_of(self.text)
        if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
            first = node.value[0].start_mark
            line = self.text[self.text.rfind("\n", 0, first.index) + 1 : first.index]
            lines = _item_lines(item, line[: line.index("-")])
            end = self._line_end(_end(node.value[-1]))
            self.text = self.text[:end] + self._glue(end) + newline.join(lines) + newline + self.text[end:]
        elif not node.value:  # `[]`, or a name without a value
            key, _ = self._pair(path)
            colon = self.text.index(":", key.end_mark.index) + 1
            end = max(node.end_mark.index, colon)
            block = newline + newline.join(_item_lines(item, "  "))
            self.text = self.text[:colon] + block + self.text[end:]
        else:
            raise Unsafe(f"'{path[-1]}' is written on one line.")

    def _append(self, text: str) -> None:
        self.text += self._glue(len(self.text)) + text + newline_of(self.text)

    def _glue(self, end: int) -> str:
        return newline_of(self.text) if end and self.text[end - 1] != "\n" else ""

    def _cut_lines(self, start: int, end: int) -> None:
        start = self.text.rfind("\n", 0, start) + 1
        self.text = self.text[:start] + self.text[self._line_end(end) :]

    def _line_end(self, position: int) -> int:
        """Returns the place behind the line break; a block of text ends behind its own."""
        if position and self.text[position - 1] == "\n":
            return position
        found = self.text.find("\n", position)
        return len(self.text) if found < 0 else found + 1

    def _pair(self, path: Path) -> tuple[yaml.Node, yaml.Node]:
        root = self._root()
        if len(path) != 1 or root is None:
            raise LookupError(".".join(path))
        for key, node in root.value:
            if key.value == path[0]:
                return key, node
        raise LookupError(path[0])

    def _root(self) -> yaml.MappingNode | None:
        root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        return root if isinstance(root, yaml.MappingNode) else None


def _end(node: yaml.Node) -> int:
    """Returns the end of the last thing in a node; the node itself ends where the next one begins."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _scalar(value: Any) -> str:
    """Returns a value as JSON, which YAML reads alike."""
    return json.dumps(value, ensure_ascii=False)


def _item_lines(item: dict[str, Any], indent: str) -> list[str]:
    pairs = [f"{name}: {_scalar(value)}" for name, value in item.items()]
    return [f"{indent}- {pairs[0]}", *(f"{indent}  {pair}" for pair in pairs[1:])]
