"""settings.py, docs/configuration.md and .env.example name the same settings with the same defaults."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from tenants_app.tenant_settings import SETTINGS

ALIASES = {"GATEWAY__LOG_LEVEL"}
FOR_TESTS = {"GATEWAY_TEST_SQLITE"}

DUMP = """
import json
from gateway_project import settings
print(json.dumps({name: str(value) for name, value in vars(settings).items() if name.startswith("GATEWAY_")}))
"""


def names_read() -> set[str]:
    """Returns the names that the code passes to the typed reader."""
    files = [settings.BASE_DIR / "gateway_project" / name for name in ("settings.py", "configuration/environment.py")]
    return {f"GATEWAY_{name}" for file in files for name in reader_calls(file)} - ALIASES - FOR_TESTS


def reader_calls(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env"), attr=kind), args=[ast.Constant(value=str() as name), *_]
            ) if kind != "read_env":
                yield name


def documented_defaults() -> dict[str, str]:
    page = (settings.BASE_DIR / "docs" / "configuration.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(GATEWAY_\w+)` \| `?([^`|]*?)`? \|", page, re.MULTILINE))


def example_defaults() -> dict[str, str]:
    example = (settings.BASE_DIR / ".env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^# (GATEWAY_\w+)=(.*)$", example, re.MULTILINE))


def effective(tmp_path: Path, env_file: str) -> dict[str, Any]:
    """Returns every setting as read by a process without GATEWAY_* variables but `env_file`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment = clean | {"GATEWAY_ENV_FILE": env_file, "PYTHONPATH": str(settings.BASE_DIR)}
    result = subprocess.run(
        [sys.executable, "-c", DUMP], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    return dict(json.loads(result.stdout))


def test_every_setting_is_documented_and_exemplified() -> None:
    assert len(names_read()) > 30
    assert set(documented_defaults()) == names_read()
    assert set(example_defaults()) == names_read()


def test_the_documented_defaults_are_those_of_the_example() -> None:
    assert documented_defaults() == example_defaults()


def test_the_example_says_what_the_code_does_without_it(tmp_path: Path) -> None:
    filled = "".join(f"{name}={value}\n" for name, value in example_defaults().items())
    (tmp_path / "filled").write_text(filled, encoding="utf-8")
    by_default = effective(tmp_path, os.devnull)
    by_example = effective(tmp_path, str(tmp_path / "filled"))
    # The one default that belongs to the checkout and not to the working directory.
    assert by_default.pop("GATEWAY_CONFIG") == str(settings.BASE_DIR / by_example.pop("GATEWAY_CONFIG"))
    assert by_example == by_default


def test_every_setting_of_a_tenant_is_documented() -> None:
    page = (settings.BASE_DIR / "docs" / "configuration.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## A tenant's own settings")
    section, _, _ = section.partition("\n## ")
    assert set(re.findall(r"^\| ([a-z_]+) \|", section, re.MULTILINE)) - {"name"} == set(SETTINGS)
