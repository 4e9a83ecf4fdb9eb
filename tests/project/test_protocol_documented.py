"""docs/protocol-native.md names exactly the events, error codes and close codes of the code."""

from __future__ import annotations

import re
from pathlib import Path

from core_app import errors
from edge_app.sockets.close_codes import CloseCode
from sessions_app.events import SESSION_EVENTS

TEXT = (Path(__file__).parents[2] / "docs" / "protocol-native.md").read_text(encoding="utf-8")


def first_cells(section: str) -> set[str]:
    """Returns the words in backticks in the first column of a section's tables."""
    body = TEXT[TEXT.index(f"\n## {section}\n") :]
    body = body[: body.find("\n## ", 4)] if "\n## " in body[4:] else body
    rows = [line for line in body.splitlines() if line.startswith("| ")]
    return {word for row in rows for word in re.findall(r"`([a-z_]+)`", row.split("|")[1])}


def subclasses(base: type[errors.GatewayError]) -> set[type[errors.GatewayError]]:
    return {base}.union(*(subclasses(child) for child in base.__subclasses__()))


def test_every_event_is_documented_and_no_other() -> None:
    assert first_cells("Events") == set(SESSION_EVENTS.events)


def test_every_error_code_is_documented_with_its_status() -> None:
    section = TEXT[TEXT.index("## Keys, errors, limits") : TEXT.index("## A session's life")]
    own = {error for error in subclasses(errors.GatewayError) if error.__module__ == "core_app.errors"}
    for error in own:
        row = next(line for line in section.splitlines() if line.startswith("| `") and f"`{error.code}`" in line)
        assert str(error.status) in row
    assert first_cells("Keys, errors, limits") == {error.code for error in own}


def test_every_close_code_of_the_socket_is_documented() -> None:
    root = Path(__file__).parents[2]
    sources = [*root.joinpath("faces", "native").rglob("*.py"), *root.joinpath("edge_app", "sockets").glob("*.py")]
    assert sources
    used = {code for path in sources for code in re.findall(r"\b4[05]\d\d\b", path.read_text(encoding="utf-8"))}
    documented = set(re.findall(r"^\| (4\d{3}) \|", TEXT, re.MULTILINE))
    assert used - {"4499"} <= documented
    assert {str(code.value) for code in CloseCode} == documented
