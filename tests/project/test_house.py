"""The form of every module: a docstring, and a size that can be read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.conf import settings

MODULES = sorted(
    path
    for pattern in ("*_app/**/*.py", "faces/**/*.py", "gateway_project/**/*.py", "gateway_client/**/*.py")
    for path in settings.BASE_DIR.glob(pattern)
    if "migrations" not in path.parts
)
WRITTEN = [path for path in MODULES if path.read_text(encoding="utf-8").strip()]
LONGEST = 400
VAGUE = {"utils", "helpers", "common", "misc"}


def relative_name(path: Path) -> str:
    return str(path.relative_to(settings.BASE_DIR))


@pytest.mark.parametrize("path", WRITTEN, ids=relative_name)
def test_a_module_opens_with_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    if len(tree.body) == 1:
        return  # the docstring alone, as in a package's __init__.py
    assert "from __future__ import annotations" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WRITTEN, ids=relative_name)
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [relative_name(path) for path in MODULES if path.stem in VAGUE] == []


SENDS_DJANGOS_OWN = {"gateway_project/http/django_handler.py", "core_app/apps.py"}
"""The first replaces Django's handler, which announces its requests; nothing in the gateway listens. The second gives
migrations time between their statements, whoever starts them."""


def test_nothing_hangs_on_django_signals() -> None:
    senders = ("django.db.models.signals", "django.dispatch", "django.core.signals")
    found = {
        relative_name(path) for path in MODULES if any(sender in path.read_text(encoding="utf-8") for sender in senders)
    }
    assert found <= SENDS_DJANGOS_OWN
