"""Imports go downward only: import-linter's contracts in pyproject.toml, which have to name every room."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from django.conf import settings

PYPROJECT = settings.BASE_DIR / "pyproject.toml"


def rooms(root: Path) -> set[str]:
    return {init.parent.name for init in root.glob("*/__init__.py")} - {"tests"}


def test_no_room_imports_a_room_above_or_beside_it() -> None:
    # A process of its own: import-linter configures logging anew and silences every logger that exists.
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))",
    ]
    result = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_contract_knows_every_room() -> None:
    linter = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]
    assert set(linter["root_packages"]) == rooms(settings.BASE_DIR)
    layers = " ".join(linter["contracts"][0]["layers"]).replace("|", " ").replace("(", " ").replace(")", " ")
    assert rooms(settings.BASE_DIR) <= set(layers.split())


def test_every_room_is_installed_in_django() -> None:
    apps = {room for room in rooms(settings.BASE_DIR) if room.endswith("_app")} | {"gateway_project"}
    assert apps <= set(settings.INSTALLED_APPS)


def test_nothing_but_the_settings_names_a_face() -> None:
    named = re.compile(rf"\b(?:{'|'.join(re.escape(package) for package in settings.FACES)})\b")
    files = [file for room in rooms(settings.BASE_DIR) - {"faces"} for file in (settings.BASE_DIR / room).rglob("*.py")]
    naming = {str(file.relative_to(settings.BASE_DIR)) for file in files if named.search(file.read_text("utf-8"))}
    assert naming == {"gateway_project/settings.py"}
