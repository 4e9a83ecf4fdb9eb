"""A `.env` file: names get values, every other byte stays."""

from __future__ import annotations

import re

from gateway_client.errors import GatewayError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,-]*\Z")


def env_names(text: str) -> set[str]:
    """Returns the names that have a value, even an empty one."""
    return {found[1] for line in text.splitlines() if (found := _LINE.match(line))}


def env_set(text: str, values: dict[str, str]) -> str:
    """Returns the text with these values: in the line that a name has, or at the end."""
    newline = "\r\n" if "\r\n" in text else "\n"
    left = dict(values)
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        found = _LINE.match(line)
        if found and found[1] in values:
            _check_one_line(found[1], line[found.end() :])
            ending = line[len(line.rstrip("\r\n")) :]
            lines[index] = line[: found.end()] + env_quote(found[1], values[found[1]]) + ending
            left.pop(found[1], None)
    if lines and left and not lines[-1].endswith("\n"):
        lines[-1] += newline
    return "".join(lines) + "".join(f"{name}={env_quote(name, value)}{newline}" for name, value in left.items())


def _check_one_line(name: str, value: str) -> None:
    """Refuses a value that is quoted over several lines, of which only the first would be replaced."""
    quote = value.strip()[:1]
    if quote in ("'", '"') and value.strip().rfind(quote) == 0:
        raise GatewayError(f"{name} has a value over several lines in this file: change it by hand.")


def env_quote(name: str, value: str) -> str:
    """Returns a value as the file has it. Raises GatewayError for what it cannot have."""
    if not _NAME.match(name):
        raise GatewayError(f"'{name}' is not the name of a variable.")
    if any(character < " " or character == "\x7f" for character in value):
        raise GatewayError(f"The value of {name} has line breaks or control characters: is it a key?")
    if _PLAIN.match(value):
        return value
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
