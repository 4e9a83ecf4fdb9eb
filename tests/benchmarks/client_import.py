"""The time that a program needs to import the Python client, beside the same for the library that it sends with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.benchmarks.figures import Figure

ROOT = Path(__file__).parents[2]
ROUNDS = 5
TIMED = "import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"


async def measure() -> AsyncIterator[Figure]:
    client, library = (min(import_seconds(module) for _ in range(ROUNDS)) for module in ("gateway_client", "httpx"))
    yield Figure("import gateway_client", client, "s", library, "import httpx", 0.3)


def import_seconds(module: str) -> float:
    """Imports the module in a process of its own; returns the seconds."""
    code = TIMED.format(module=module)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return float(done.stdout)
