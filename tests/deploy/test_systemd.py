"""The systemd units are valid and unprivileged, and have more time to stop than a drain takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from gateway_project.process.server import CLOSE_SECONDS, DRAIN_GRACE_SECONDS

UNITS = sorted((settings.BASE_DIR / "deploy" / "systemd").glob("*.service"))
MOST_EXPOSED = 2.0
"""On systemd's scale from 0 to 10; the rest is network access, which a gateway needs."""

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")


def value(unit: Path, name: str) -> str:
    found: list[str] = re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    return found[-1]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Copies of the units with this checkout as the installation."""
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8").replace("/opt/agent-gateway", str(settings.BASE_DIR))
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    return tmp_path


def test_there_is_a_unit_for_web_processes_and_one_for_workers() -> None:
    assert [unit.name for unit in UNITS] == ["agent-gateway-web@.service", "agent-gateway-worker@.service"]
    assert [value(unit, "ExecStart").split()[-1] for unit in UNITS] == ["serve", "worker"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_stop_takes_longer_than_a_drain_and_a_crash_is_followed_by_a_start(unit: Path) -> None:
    drain = settings.GATEWAY_DRAIN_SECONDS + DRAIN_GRACE_SECONDS + CLOSE_SECONDS
    assert float(value(unit, "TimeoutStopSec")) > drain
    assert value(unit, "Restart") == "on-failure"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_start_that_fails_is_tried_for_as_long_as_it_takes(unit: Path) -> None:
    """While the database is down, a start fails every other second."""
    assert value(unit, "StartLimitIntervalSec") == "0"


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_the_unit(unit: Path, here: Path) -> None:
    instance = here / unit.name.replace("@.", "@4001.")
    result = subprocess.run(["systemd-analyze", "verify", str(instance)], capture_output=True, text=True, check=False)
    assert (result.returncode, [line for line in result.stderr.splitlines() if "agent-gateway" in line]) == (0, [])


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_process_is_exposed_to_little(unit: Path, here: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(here / unit.name)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    level = re.search(r"Overall exposure level .*: ([\d.]+)", result.stdout)
    assert level is not None
    assert float(level[1]) <= MOST_EXPOSED
