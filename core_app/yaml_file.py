"""The reader of an operator's YAML file, whose faults are sentences: the line, the reason, what to do.

A name that stands twice in one mapping is a fault, where the format's libraries let the last one win in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


class YamlFault(Exception):
    """A file that cannot be read. The text is a sentence that names the file."""


_REASONS = (
    ("character '\\t'", "a tab is not allowed here; indent with spaces"),
    (
        "mapping values are not allowed",
        "a ':' is not expected here: quote a text that contains ': ', or indent the line",
    ),
    ("expected <block end>", "the indentation does not match the lines above"),
    ("expected ',' or ']'", "a '[' is not closed with ']'"),
    ("expected ',' or '}'", "a '{' is not closed with '}'"),
    ("expected the node content", "a value is missing, or a bracket is not closed"),
    ("could not find expected ':'", "a ':' is missing behind a name"),
    ("cannot start any token", "this character cannot begin a value; quote the text"),
    ("end of stream", "the file ends inside a quoted text"),
    ("found unexpected end", "the file ends inside a quoted text"),
    ("undefined alias", "a '*name' refers to no '&name' before it; quote a text that begins with '*'"),
    ("could not determine a constructor", "a value begins with '!'; quote the text"),
    ("expected a single document", "the file has a second document behind '---'"),
)
"""Own words by a part of the library's."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses names that stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in seen:
                raise YamlFault(f"'{key.value}' stands twice, at line {seen[key.value]} and at line {line}.")
            seen[key.value] = line
        return super().construct_mapping(node, deep)


def yaml_read(path: Path) -> Mapping[Any, Any]:
    """Returns the file's mapping, empty for a file that is missing or empty. Raises YamlFault."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise YamlFault(f"{path.name} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise YamlFault(f"{path.name} cannot be read as UTF-8 text.") from None
    try:
        document = yaml.load(text, _Loader)  # noqa: S506  (a safe loader)
    except YamlFault as fault:
        raise YamlFault(f"{path.name}: {fault}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlFault(_sentence(path.name, error)) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise YamlFault(f"{path.name} must be a mapping at its top level, such as 'models: …' and 'agents: …'.")
    return document


def _sentence(name: str, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = str(getattr(error, "problem", None) or error)
    reason = next((own for part, own in _REASONS if part in problem), "")
    if isinstance(error, yaml.reader.ReaderError):
        reason = "it contains a control character"
    return f"{name} is not valid YAML{where}{': ' if reason else ''}{reason}."
