"""Every group of attacks has tests, and the tests are there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

from tests.security.attacks import GROUPS

HERE = Path(__file__).parent


@cache
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((settings.BASE_DIR / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("group", list(GROUPS))
def test_a_group_of_attacks_is_repeated_by_tests_that_are_there(group: str) -> None:
    assert GROUPS[group]
    for test in GROUPS[group]:
        path, _, name = test.partition("::")
        assert name in functions_in(path), test


def test_there_are_as_many_groups_as_were_tried() -> None:
    assert len(GROUPS) >= 40


def test_every_attack_of_this_directory_belongs_to_a_group() -> None:
    named = {test for tests in GROUPS.values() for test in tests}
    here = {
        f"tests/security/{path.name}::{name}"
        for path in HERE.glob("test_*.py")
        for name in functions_in(f"tests/security/{path.name}")
        if name.startswith(("test_no_", "test_an_odd", "test_another")) and path.name != Path(__file__).name
    }
    assert here - named == set()
