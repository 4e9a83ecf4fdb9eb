"""The command line as a program of its own, in a home directory of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway_client.cli.main import app
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Done:
    """The output of a command, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Home:
    """A person's home directory, and `agent-gateway` as that person runs it."""

    path: Path
    variables: Mapping[str, str]

    def environment(self, **variables: str) -> dict[str, str]:
        base = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        own = {"HOME": str(self.path), "SHELL": "/bin/bash", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        return base | own | dict(self.variables) | variables

    def run(self, *words: str, text: str = "", **variables: str) -> Done:
        """Runs a command to its end, in this process; a variable that is empty is as good as none."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        code: object = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.path)
            patch.setattr(os, "environ", self.environment(**variables))
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            try:
                app(words, prog_name="agent-gateway")
            except SystemExit as ended:
                code = ended.code
        shown, told = (stream.buffer.getvalue().decode() for stream in (out, err))
        return Done(int(str(code or 0)), shown, told)

    def start(self, *words: str, **variables: str) -> Done:
        """Runs a command to its end, as a program of its own."""
        command = [sys.executable, "-m", "gateway_client", *words]
        environment = self.environment(**variables)
        done = subprocess.run(
            command, cwd=self.path, env=environment, capture_output=True, encoding="utf-8", timeout=120
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A person without a gateway."""
    directory = tmp_path / "home"
    directory.mkdir()
    return Home(
        directory, {"AGENT_GATEWAY_URL": "http://127.0.0.1:9", "AGENT_GATEWAY_API_KEY": "a-key-of-20-characters"}
    )


@pytest.fixture
def served_home(home: Home, served: GatewayProcess) -> Home:
    """A person with a gateway and a key."""
    return Home(home.path, {"AGENT_GATEWAY_URL": served.url, "AGENT_GATEWAY_API_KEY": KEY})
