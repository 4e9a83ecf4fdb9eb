"""The coding assistants that people install, pointed here as docs/conversions.md says, fix a file over chat alone.

Those that are not installed are skipped; GATEWAY_TEST_ASSISTANTS names a folder, beside those of PATH, where they are.
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
class Place:
    """Where an assistant runs: a home and a workspace of its own, and the gateway it is pointed at."""

    home: Path
    url: str
    key: str

    def write(self, path: str, content: str) -> Path:
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        return target


Prepared = tuple[list[str], dict[str, str]]


def codex(place: Place, model: str) -> Prepared:
    config = place.write("codex/config.toml", CODEX.format(model=model, url=place.url))
    settings = {"CODEX_HOME": str(config.parent), "GATEWAY_KEY": place.key}
    return ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", TASK], settings


def claude(place: Place, model: str) -> Prepared:
    settings = {
        "ANTHROPIC_BASE_URL": place.url,
        "ANTHROPIC_AUTH_TOKEN": place.key,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
    }
    return ["-p", TASK, "--dangerously-skip-permissions"], settings


def qwen(place: Place, model: str) -> Prepared:
    settings = {"OPENAI_BASE_URL": f"{place.url}/v1", "OPENAI_API_KEY": place.key, "OPENAI_MODEL": model}
    return ["--auth-type", "openai", "-y", "-p", TASK], settings


def opencode(place: Place, model: str) -> Prepared:
    options = {"baseURL": f"{place.url}/v1", "apiKey": place.key}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "Gateway", "options": options, "models": {model: {}}}
    config = {"provider": {"gateway": provider}, "model": f"gateway/{model}", "small_model": f"gateway/{model}"}
    place.write("work/opencode.json", json.dumps(config))
    return ["run", TASK], {}


ASSISTANTS: dict[str, tuple[Callable[[Place, str], Prepared], str]] = {
    "codex": (codex, "plain:assistant"),
    "codex, patches as free text": (codex, "gpt-5.5"),
    "codex, code that calls tools": (codex, "gpt-5.6-sol"),
    "claude": (claude, "plain:assistant"),
    "qwen": (qwen, "plain:assistant"),
    "opencode": (opencode, "plain:assistant"),
}


def installed(name: str) -> str | None:
    """Where the program is."""
    folders = [os.environ.get("GATEWAY_TEST_ASSISTANTS", ""), os.environ["PATH"]]
    return shutil.which(name.partition(",")[0], path=os.pathsep.join(folders))


def cases() -> Iterator[Any]:
    """Those that are not installed are skipped before anything is started for them."""
    for name in ASSISTANTS:
        missing = f"{name} is not installed (GATEWAY_TEST_ASSISTANTS may name the folder it is in)"
        yield pytest.param(name, marks=pytest.mark.skipif(installed(name) is None, reason=missing))


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("name", list(cases()))
def test_an_installed_assistant_finishes_its_task(served: Served, plain: Upstream, tmp_path: Path, name: str) -> None:
    executable = installed(name)
    assert executable is not None
    prepare, model = ASSISTANTS[name]
    place = Place(tmp_path, served.url, served.keys["owner"])
    mended = place.write("work/sum.py", BROKEN)
    arguments, settings = prepare(place, model)
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
