"""The lock files match pyproject.toml, have hashes, and do not name a package index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable

import pytest
from django.conf import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

RUNTIME, TRACING, DEVELOPMENT = "requirements.lock", "requirements-otel.lock", "requirements-dev.lock"
PIN = re.compile(r"^([a-z0-9-]+)==([^ \\;]+)(.*)$", re.MULTILINE)
FOREIGN = re.compile(r"https?:|file:|--find-links|--(extra-)?index-url|@ |(^|\s)/[a-z]", re.MULTILINE)


def lock_text(name: str) -> str:
    return (settings.BASE_DIR / name).read_text(encoding="utf-8")


def pins(name: str) -> dict[str, list[Version]]:
    found: dict[str, list[Version]] = {}
    for package, version, _ in PIN.findall(lock_text(name)):
        found.setdefault(package, []).append(Version(version))
    return found


def unsatisfied_requirements(dependencies: Iterable[str], locked: dict[str, list[Version]]) -> list[str]:
    wanted = [Requirement(dependency) for dependency in dependencies]
    return [
        str(requirement)
        for requirement in wanted
        if not any(version in requirement.specifier for version in locked.get(canonicalize_name(requirement.name), []))
    ]


def test_every_dependency_is_locked_at_a_version_that_satisfies_it() -> None:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert unsatisfied_requirements(project["dependencies"], pins(RUNTIME)) == []
    tracing = [*project["dependencies"], *project["optional-dependencies"]["otel"]]
    assert unsatisfied_requirements(tracing, pins(TRACING)) == []
    development = [*tracing, *project["optional-dependencies"]["dev"]]
    assert unsatisfied_requirements(development, pins(DEVELOPMENT)) == []


def test_tests_run_on_the_versions_that_the_gateway_runs_on() -> None:
    development = pins(DEVELOPMENT)
    for lock in (RUNTIME, TRACING):
        assert {name: versions for name, versions in pins(lock).items() if development.get(name) != versions} == {}


@pytest.mark.parametrize("name", [RUNTIME, TRACING, DEVELOPMENT])
def test_every_locked_package_has_hashes(name: str) -> None:
    entries = re.split(r"\n(?=[a-z0-9-]+==)", lock_text(name))[1:]
    assert len(entries) == sum(len(versions) for versions in pins(name).values()) > 20
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("name", [RUNTIME, TRACING, DEVELOPMENT])
def test_a_lock_names_no_host_and_no_path(name: str) -> None:
    assert FOREIGN.search(lock_text(name)) is None


def test_production_has_one_web_server() -> None:
    """daphne, for `runserver`, brings a dozen packages that production never runs."""
    for name in ("daphne", "twisted", "autobahn", "pyopenssl"):
        assert name not in pins(RUNTIME)
        assert name not in pins(TRACING)
    assert "daphne" in pins(DEVELOPMENT)


def test_runserver_without_daphne_says_what_to_run() -> None:
    code = (
        "import sys; sys.modules['daphne'] = None\n"
        "from django.core.management import execute_from_command_line as run\n"
        "run(['manage.py', 'runserver', '0:1', '--noreload'])"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "run 'gateway serve'" in result.stderr
    assert "Traceback" not in result.stderr
