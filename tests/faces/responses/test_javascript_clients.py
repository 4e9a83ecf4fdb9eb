"""The official JavaScript clients against the gateway; `make test` installs them if there is a node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.agents.conftest import Upstream
from tests.api.served import Served
from tests.gateway_harness import eventually

SCRIPTS = Path(__file__).resolve().parents[2] / "javascript"
SECONDS = 120
OLDEST_NODE = 20


def run(script: str, package: str, gateway: Served, *more: str) -> dict[str, Any]:
    """Returns the output of the script; skips the test if it cannot run."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("There is no node here, which the JavaScript clients need.")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"The JavaScript clients need node {OLDEST_NODE}; here is {version.strip()}.")
    if not (SCRIPTS / "node_modules" / package).exists():
        missing = f"The package {package} is not installed: run `npm ci` in tests/javascript."
        if os.environ.get("GATEWAY_REQUIRE_SERVICES") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    command = [node, str(SCRIPTS / script), gateway.url, gateway.keys["owner"], *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


async def test_openais_javascript_client_runs_over_a_provider_of_chat(
    gateway: Served, plain: Upstream, everything: Upstream, echo: str
) -> None:
    seen = run("openai_client.cjs", "openai", gateway, echo)
    numbers = seen.pop("numbers")
    assert numbers == list(range(len(numbers)))
    resumed = seen.pop("resumed")
    assert resumed == list(range(5, 5 + len(resumed)))
    assert seen == {
        "chat": "Hello, world.",
        "chatStream": "Hello, world.",
        "response": "Hello, world.",
        "streamed": "Then I answer.",
        "calls": [0, 1],
        "answered": "Tools said: r0 | r1",
        "continued": True,
        "items": 1,
        "background": "Then I answer.",
        "cancelled": "cancelled",
        "queued": ["bg_", "queued"],
        "backgroundChat": "Hello, world.",
        "backgroundStream": "Hello, world.",
        "hosted": [["mcp_list_tools", "mcp_call", "message"], "Tools said: echoed 0"],
        "compacted": ["compaction", "message"],
        "aborted": True,
        "error": [502, "PROVIDER_ERROR"],
    }
    await eventually(lambda: plain.open_streams() == 0)


def test_anthropics_javascript_client_runs_over_a_provider_of_chat(gateway: Served, plain: Upstream) -> None:
    assert run("anthropic_client.cjs", "@anthropic-ai/sdk", gateway) == {
        "message": "Hello, world.",
        "blocks": ["thinking", "text"],
        "usage": [8, 7],
        "calls": [0, 1],
        "answered": "Tools said: r0 | r1",
        "image": "text,image_url",
        "queued": ["bg_", "queued"],
        "background": "Hello, world.",
        "backgroundStream": "Hello, world.",
        "broken": "raised",
        "error": 502,
        "runner": ["Tools said: r | r"] * 2,
        "threads": [["create", 1], ["continue", 1]] * 2,
    }
