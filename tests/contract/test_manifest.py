"""native.yaml ties the protocol's rows to tests, both ways: what it names exists, and no module goes unnamed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).parents[1]
ROWS: dict[str, list[str]] = yaml.safe_load((Path(__file__).parent / "native.yaml").read_text(encoding="utf-8"))
FACE = ("sessions", "sessions_socket", "sessions_tools", "sessions_model", "events")
"""The folders of the native face's tests: every module there shows some row."""


def named_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")}


EXISTING = {path: named_in(path) for path in TESTS.rglob("*.py")}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_tests_that_exist(row: str) -> None:
    everything = set().union(*EXISTING.values())
    assert ROWS[row], f"{row} has no test"
    assert set(ROWS[row]) <= everything, set(ROWS[row]) - everything


@pytest.mark.parametrize("folder", FACE)
def test_every_module_of_the_face_shows_some_row(folder: str) -> None:
    named = set().union(*ROWS.values())
    unnamed = [path.name for path in sorted((TESTS / folder).glob("test_*.py")) if not EXISTING[path] & named]
    assert unnamed == []
