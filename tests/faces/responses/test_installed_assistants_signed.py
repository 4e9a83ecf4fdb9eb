"""Installed coding assistants finish a task over two prompts, with thoughts and tools, at providers of every wire that
demand their signatures back."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_app.catalogue.config import Wire
from tests.agents.conftest import Upstream
from tests.api.served import Served
from tests.conformance import refusal
from tests.faces.responses.assistants import (
    SECONDS,
    Prepare,
    Sandbox,
    claude,
    codex,
    installed,
    opencode_over,
    qwen,
    qwen_messages,
)
from tests.faces.responses.demanding import MODELS, ONCE_MORE
from tests.faces.responses.test_installed_assistants import BROKEN, MENDED

ASSISTANTS: dict[str, tuple[Prepare, Wire]] = {
    "codex": (codex, "openai-responses"),
    "claude": (claude, "anthropic"),
    "qwen": (qwen, "openai-chat"),
    "qwen, Messages": (qwen_messages, "anthropic"),
    "opencode": (opencode_over("@ai-sdk/openai-compatible"), "openai-chat"),
    "opencode, Messages": (opencode_over("@ai-sdk/anthropic"), "anthropic"),
    "opencode, Responses": (opencode_over("@ai-sdk/openai"), "openai-responses"),
}
"""How each is called, and the wire whose dialect it speaks."""

LOSES = {
    ("qwen", "gemini:gemini-3-pro"): "sends no extra_content",
    ("qwen", "claude-sonnet-4-6"): "sends no reasoning_details",
    ("qwen", "openai:gpt-5"): "sends no reasoning_details",
    ("opencode", "gemini:gemini-3-pro"): "sends no extra_content",
    ("opencode", "claude-sonnet-4-6"): "sends no reasoning_details",
    ("opencode", "openai:gpt-5"): "sends no reasoning_details",
    ("opencode, Messages", "deepseek:deepseek-reasoner"): "sends no thinking without a signature",
    ("opencode, Responses", "deepseek:deepseek-reasoner"): "sends no reasoning without encrypted_content",
}
"""Assistants that do not send back what the model has thought; they finish all the same."""


@pytest.mark.timeout(2 * SECONDS + 30)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", list(installed(ASSISTANTS)))
def test_signatures_come_back(
    signed_gateway: Served, demanding: Upstream, tmp_path: Path, name: str, model: str
) -> None:
    prepare, dialect = ASSISTANTS[name]
    sandbox = Sandbox(tmp_path, signed_gateway.url, signed_gateway.keys["owner"])
    mended = sandbox.write("work/sum.py", BROKEN)
    assert "Fixed the sum." in sandbox.run(name, prepare, model, "Fix sum.py")
    assert mended.read_text(encoding="utf-8") == MENDED
    assert "Checked the sum." in sandbox.run(name, prepare, model, f"Look at sum.py {ONCE_MORE}", again=True)
    requests = demanding.requests()
    assert [request["__refused"] for request in requests if "__refused" in request] == []
    lost = {step for request in requests for step in request["__lost"]}
    assert bool(lost) is ((name, model) in LOSES), lost
    wire = MODELS[model]
    if dialect != wire:
        extensions = frozenset(key for key in requests[0] if key.startswith("__"))
        assert [refusal(wire, request, extensions=extensions) for request in requests] == [None] * len(requests)
