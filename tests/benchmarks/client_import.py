"""The time that a program needs to import the Python client, and the command line to show its help, beside the same for
the libraries that they are made of."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.benchmarks.figures import Figure

ROOT = Path(__file__).parents[2]
ROUNDS = 5
TIMED = "import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
EMPTY = "import typer; app = typer.Typer(rich_markup_mode=None); app.command()(lambda: None); app()"


async def measure() -> AsyncIterator[Figure]:
    client, library = (min(import_seconds(module) for _ in range(ROUNDS)) for module in ("gateway_client", "httpx"))
    yield Figure("import gateway_client", client, "s", library, "import httpx", 0.3)
    words = (("-m", "gateway_client", "--help"), ("-c", EMPTY, "--help"))
    helped, empty = (min(run_seconds(*each) for _ in range(ROUNDS)) for each in words)
    yield Figure("agent-gateway --help", helped, "s", empty, "the same without a command", 0.5)


def import_seconds(module: str) -> float:
    """Imports the module in a process of its own; returns the seconds."""
    return float(run(sys.executable, "-c", TIMED.format(module=module)))


def run_seconds(*words: str) -> float:
    """Runs a Python program to its end; returns the seconds."""
    began = time.perf_counter()
    run(sys.executable, *words)
    return time.perf_counter() - began


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
