"""Every import is declared in pyproject.toml: a transitive dependency may disappear with its parent."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from django.conf import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN = {path.parent.name for path in settings.BASE_DIR.glob("*/__init__.py")}


def foreign_imports(folder: str) -> dict[str, Path]:
    """Returns every foreign top-level module that `folder` imports, with a file that imports it."""
    found: dict[str, Path] = {}
    for path in settings.BASE_DIR.glob(folder):
        for name in modules(ast.parse(path.read_text(encoding="utf-8"))):
            if name not in OWN and name not in sys.stdlib_module_names:
                found.setdefault(name, path)
    return found


def modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def declared_names(*lists: list[str]) -> set[str]:
    requirements = [Requirement(text) for texts in lists for text in texts]
    return {canonicalize_name(requirement.name) for requirement in requirements}


def undeclared_imports(folder: str, names: set[str]) -> list[str]:
    owners = packages_distributions()
    return [
        f"{module} in {path.relative_to(settings.BASE_DIR)}"
        for module, path in foreign_imports(folder).items()
        if not names & {canonicalize_name(owner) for owner in owners.get(module, [])}
    ]


def test_the_gateway_imports_only_what_it_declares() -> None:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # `runserver` is for development, and says so where daphne is not installed.
    runtime = declared_names(project["dependencies"], project["optional-dependencies"]["otel"]) | {"daphne"}
    assert undeclared_imports("*_app/**/*.py", runtime) + undeclared_imports("gateway_project/**/*.py", runtime) == []


def test_the_client_imports_only_what_its_own_package_declares() -> None:
    own = tomllib.loads((settings.BASE_DIR / "gateway_client/pyproject.toml").read_text(encoding="utf-8"))["project"]
    whole = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = declared_names(own["dependencies"], own["optional-dependencies"]["device"])
    assert undeclared_imports("gateway_client/**/*.py", declared) == []
    assert own["dependencies"] == whole["optional-dependencies"]["client"]


def test_the_tests_import_only_what_is_declared() -> None:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = declared_names(project["dependencies"], *project["optional-dependencies"].values())
    assert undeclared_imports("tests/**/*.py", everything) == []
