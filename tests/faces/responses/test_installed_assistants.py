"""Installed coding assistants, configured as docs/conversions.md describes, fix a file over a provider of chat alone.

Assistants that are not installed are skipped; GATEWAY_TEST_ASSISTANTS names a folder to search besides those of PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.agents.conftest import Upstream
from tests.api.served import Served

BROKEN = "def add(a, b):\n    return a - b\n"
MENDED = "def add(a, b):\n    return a + b\n"
TASK = "Fix sum.py"
SECONDS = 120
CODEX = """
model = "{model}"
model_provider = "gateway"

[model_providers.gateway]
name = "Agent Gateway"
base_url = "{url}/v1"
env_key = "GATEWAY_KEY"
wire_api = "responses"
"""


@dataclass(frozen=True)
class Sandbox:
    """Home and workspace of one assistant, with the address and key of the gateway."""

    home: Path
    url: str
    key: str

    def write(self, path: str, content: str) -> Path:
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        return target


Prepared = tuple[list[str], dict[str, str]]


def codex(sandbox: Sandbox, model: str) -> Prepared:
    config = sandbox.write("codex/config.toml", CODEX.format(model=model, url=sandbox.url))
    settings = {"CODEX_HOME": str(config.parent), "GATEWAY_KEY": sandbox.key}
    return ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", TASK], settings


def claude(sandbox: Sandbox, model: str) -> Prepared:
    settings = {
        "ANTHROPIC_BASE_URL": sandbox.url,
        "ANTHROPIC_AUTH_TOKEN": sandbox.key,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
    }
    return ["-p", TASK, "--dangerously-skip-permissions"], settings


def qwen(sandbox: Sandbox, model: str) -> Prepared:
    settings = {"OPENAI_BASE_URL": f"{sandbox.url}/v1", "OPENAI_API_KEY": sandbox.key, "OPENAI_MODEL": model}
    return ["--auth-type", "openai", "-y", "-p", TASK], settings


def opencode(sandbox: Sandbox, model: str) -> Prepared:
    options = {"baseURL": f"{sandbox.url}/v1", "apiKey": sandbox.key}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "Gateway", "options": options, "models": {model: {}}}
    config = {"provider": {"gateway": provider}, "model": f"gateway/{model}", "small_model": f"gateway/{model}"}
    sandbox.write("work/opencode.json", json.dumps(config))
    return ["run", TASK], {}


ASSISTANTS: dict[str, tuple[Callable[[Sandbox, str], Prepared], str]] = {
    "codex": (codex, "plain:assistant"),
    "codex, patches as free text": (codex, "gpt-5.5"),
    "codex, code that calls tools": (codex, "gpt-5.6-sol"),
    "claude": (claude, "plain:assistant"),
    "qwen": (qwen, "plain:assistant"),
    "opencode": (opencode, "plain:assistant"),
}


def find_program(name: str) -> str | None:
    """Returns the path of the program, None if it is not installed."""
    folders = [os.environ.get("GATEWAY_TEST_ASSISTANTS", ""), os.environ["PATH"]]
    return shutil.which(name.partition(",")[0], path=os.pathsep.join(folders))


def cases() -> Iterator[Any]:
    """Yields the assistants; those that are not installed are skipped before any fixture starts."""
    for name in ASSISTANTS:
        missing = f"{name} is not installed (GATEWAY_TEST_ASSISTANTS may name the folder it is in)"
        yield pytest.param(name, marks=pytest.mark.skipif(find_program(name) is None, reason=missing))


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("name", list(cases()))
def test_an_installed_assistant_finishes_its_task(gateway: Served, plain: Upstream, tmp_path: Path, name: str) -> None:
    executable = find_program(name)
    assert executable is not None
    prepare, model = ASSISTANTS[name]
    sandbox = Sandbox(tmp_path, gateway.url, gateway.keys["owner"])
    mended = sandbox.write("work/sum.py", BROKEN)
    arguments, settings = prepare(sandbox, model)
    done = subprocess.run(
        [executable, *arguments],
        cwd=mended.parent,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert mended.read_text(encoding="utf-8") == MENDED
    assert "Fixed the sum." in done.stdout
    assert [message["role"] for message in plain.requests()[-1]["messages"]].count("tool") == 2
