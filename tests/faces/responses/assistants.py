"""Installed coding assistants: how each is configured, as docs/conversions.md describes, and called without a terminal.

Those that are not installed are skipped; GATEWAY_TEST_ASSISTANTS names a folder to search besides those of PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SECONDS = 120
"""The longest run of an assistant."""

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

    @property
    def work(self) -> Path:
        return self.home / "work"

    def write(self, path: str, content: str) -> Path:
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        return target

    def run(self, name: str, prepare: Prepare, model: str, prompt: str, *, again: bool = False) -> str:
        """Runs an assistant with a prompt, in its last conversation if `again`; returns what it printed."""
        executable = find_program(name)
        assert executable is not None
        arguments, settings = prepare(self, model, prompt, again)
        done = subprocess.run(
            [executable, *arguments],
            cwd=self.work,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout


Prepare = Callable[[Sandbox, str, str, bool], tuple[list[str], dict[str, str]]]
"""Returns the arguments and the environment for a model, a prompt, and whether the last conversation goes on."""


def codex(sandbox: Sandbox, model: str, prompt: str, again: bool) -> tuple[list[str], dict[str, str]]:
    config = sandbox.write("codex/config.toml", CODEX.format(model=model, url=sandbox.url))
    settings = {"CODEX_HOME": str(config.parent), "GATEWAY_KEY": sandbox.key}
    options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    return ["exec", *options, *(["resume", "--last"] if again else []), prompt], settings


def claude(sandbox: Sandbox, model: str, prompt: str, again: bool) -> tuple[list[str], dict[str, str]]:
    settings = {
        "ANTHROPIC_BASE_URL": sandbox.url,
        "ANTHROPIC_AUTH_TOKEN": sandbox.key,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
    }
    return [*(["--continue"] if again else []), "-p", prompt, "--dangerously-skip-permissions"], settings


def qwen(sandbox: Sandbox, model: str, prompt: str, again: bool) -> tuple[list[str], dict[str, str]]:
    settings = {"OPENAI_BASE_URL": f"{sandbox.url}/v1", "OPENAI_API_KEY": sandbox.key, "OPENAI_MODEL": model}
    return ["--auth-type", "openai", "-y", *(["--continue"] if again else []), "-p", prompt], settings


def qwen_messages(sandbox: Sandbox, model: str, prompt: str, again: bool) -> tuple[list[str], dict[str, str]]:
    settings = {"ANTHROPIC_BASE_URL": sandbox.url, "ANTHROPIC_API_KEY": sandbox.key, "ANTHROPIC_MODEL": model}
    return ["--auth-type", "anthropic", "-y", *(["--continue"] if again else []), "-p", prompt], settings


def opencode_over(package: str) -> Prepare:
    """Returns opencode's configuration with a package of the AI SDK, which decides the dialect."""

    def opencode(sandbox: Sandbox, model: str, prompt: str, again: bool) -> tuple[list[str], dict[str, str]]:
        options = {"baseURL": f"{sandbox.url}/v1", "apiKey": sandbox.key}
        provider = {"npm": package, "name": "Gateway", "options": options, "models": {model: {}}}
        config = {"provider": {"gateway": provider}, "model": f"gateway/{model}", "small_model": f"gateway/{model}"}
        sandbox.write("work/opencode.json", json.dumps(config))
        return ["run", *(["--continue"] if again else []), prompt], {}

    return opencode


def find_program(name: str) -> str | None:
    """Returns the path of the program before the comma in a case's name, None if it is not installed."""
    folders = [os.environ.get("GATEWAY_TEST_ASSISTANTS", ""), os.environ["PATH"]]
    return shutil.which(name.partition(",")[0], path=os.pathsep.join(folders))


def installed(names: Iterable[str]) -> Iterator[Any]:
    """Yields the cases; those of programs that are not installed are skipped before any fixture starts."""
    for name in names:
        missing = f"{name} is not installed (GATEWAY_TEST_ASSISTANTS may name the folder it is in)"
        yield pytest.param(name, marks=pytest.mark.skipif(find_program(name) is None, reason=missing))
