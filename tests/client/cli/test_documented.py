"""docs/command-line.md and the package's README: they name exactly the commands that there are, and their lines run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from gateway_client.cli.connect.programs import PROGRAMS
from gateway_client.cli.main import app
from tests.client.cli.conftest import ROOT, Home

PAGE = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
README = (ROOT / "gateway_client/README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return re.split(r"\n##+ ", PAGE.split(f"# {title}\n", 1)[1])[0]


def first_cells(text: str) -> list[str]:
    return [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]


def commands() -> dict[str, set[str]]:
    """Every command with its subcommands."""
    root = typer.main.get_command(app)
    return {name: set(getattr(command, "commands", {})) for name, command in root.commands.items()}  # type: ignore[attr-defined]


def test_every_command_is_documented_and_no_other() -> None:
    named = {word for cell in first_cells(section("Commands")) for word in re.findall(r"`([a-z-]+)", cell)}
    assert named - {"path", "edit"} == set(commands())
    space = next(row for row in PAGE.splitlines() if row.startswith("| `create-space`"))
    assert set(re.findall(r"`([a-z-]+)`", space.split("|")[3])) == commands()["space"]
    assert commands()["config"] == {"show", "path", "edit"}


def test_every_tool_is_documented_with_its_file() -> None:
    rows = [row.split("|") for row in section("Coding assistants").splitlines() if row.startswith("| `")]
    assert {row[1].strip(" `") for row in rows} == set(PROGRAMS)
    for row in rows:
        program = PROGRAMS[row[1].strip(" `")]
        if program.kind not in ("", "block"):
            assert program.path().name in row[2]


def test_the_contract_of_the_command_line_is_kept() -> None:
    wanted = {"agents", "task", "to", "space", "create-space", "start", "tasks", "health", "status", "models", "quota"}
    wanted |= {"chat", "config", "doctor", "setup", "connect", "disconnect", "watch", "sessions", "runs", "approve"}
    assert wanted | {"reject", "respond", "usage"} <= set(commands())


@pytest.fixture
def shell(served_home: Home) -> Home:
    """A person with `agent-gateway` in PATH."""
    program = served_home.path / "bin/agent-gateway"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway_client "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    python = Path(sys.executable).parent
    path = f"{program.parent}:{python}:{served_home.environment()['PATH']}"
    return Home(served_home.path, {**served_home.variables, "PATH": path})


BLOCKS = [
    block
    for text in (PAGE, README)
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    if "agent-gateway " in block and "agent-gateway chat" not in block
]


def test_there_are_lines_to_run() -> None:
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("block", BLOCKS)
def test_the_lines_run_as_printed(shell: Home, block: str) -> None:
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block],
        cwd=shell.path,
        env=shell.environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    if "Say hello" in block:
        assert "you wrote “Say hello”" in done.stdout
    if "space search" in block:
        assert "The deployment is at noon." in done.stdout
