"""Installed coding assistants fix a file over a provider of chat alone, with each of the tools that Codex chooses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents.conftest import Upstream
from tests.api.served import Served
from tests.faces.responses.assistants import (
    SECONDS,
    Prepare,
    Sandbox,
    claude,
    codex,
    installed,
    opencode_over,
    qwen,
)

BROKEN = "def add(a, b):\n    return a - b\n"
MENDED = "def add(a, b):\n    return a + b\n"
ASSISTANTS: dict[str, tuple[Prepare, str]] = {
    "codex": (codex, "plain:assistant"),
    "codex, patches as free text": (codex, "gpt-5.5"),
    "codex, code that calls tools": (codex, "gpt-5.6-sol"),
    "claude": (claude, "plain:assistant"),
    "qwen": (qwen, "plain:assistant"),
    "opencode": (opencode_over("@ai-sdk/openai-compatible"), "plain:assistant"),
}


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("name", list(installed(ASSISTANTS)))
def test_an_installed_assistant_finishes_its_task(gateway: Served, plain: Upstream, tmp_path: Path, name: str) -> None:
    prepare, model = ASSISTANTS[name]
    sandbox = Sandbox(tmp_path, gateway.url, gateway.keys["owner"])
    mended = sandbox.write("work/sum.py", BROKEN)
    assert "Fixed the sum." in sandbox.run(name, prepare, model, "Fix sum.py")
    assert mended.read_text(encoding="utf-8") == MENDED
    assert [message["role"] for message in plain.requests()[-1]["messages"]].count("tool") == 2
