"""Requests that pass through: what a provider refuses changes, however long the request is and however it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference_app.catalogue.config import Wire
from inference_app.catalogue.limits import CallIdForm, Limits
from inference_app.conversion.sealed_reasoning import seal_token
from inference_app.relay import passed_fit, reasoning_filter
from inference_app.relay.envelope import Envelope

TOKEN = seal_token({"format": "openai", "encrypted_content": "x"})
STRICT = Limits(call_id=CallIdForm(length=20), signatures=False)
CALL = {"id": "call_1", "type": "function", "function": {"name": "read", "arguments": "{}"}}
LONG = "call_" + "1" * 30


def _assistant(*blocks: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": [*blocks, {"type": "text", "text": "Yes."}]}
    return {"messages": [{"role": "user", "content": "Hello"}, said, {"role": "user", "content": "Go on."}]}


def _chat(call: dict[str, Any]) -> dict[str, Any]:
    answer = {"role": "tool", "tool_call_id": call["id"], "content": "done"}
    return {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}, answer]}


CHANGED: list[tuple[Wire, dict[str, Any]]] = [
    ("anthropic", _assistant({"type": "thinking", "thinking": "Hm.", "signature": ""})),
    ("anthropic", _assistant({"type": "thinking", "thinking": "Hm.", "signature": TOKEN})),
    ("anthropic", _assistant({"type": "redacted_thinking", "data": TOKEN})),
    ("anthropic", _assistant({"type": "text", "text": " \n"})),
    ("anthropic", _assistant({"type": "text", "text": "So", "citations": [{"encrypted_index": ""}]})),
    ("openai-responses", {"input": [{"type": "reasoning", "id": "rs_" + "0" * 26, "summary": []}, {"role": "user"}]}),
    ("openai-responses", {"input": [{"type": "reasoning", "encrypted_content": TOKEN}, {"role": "user"}]}),
    ("openai-responses", {"input": [{"type": "function_call_output", "call_id": LONG, "output": ""}]}),
    ("openai-responses", {"input": [{"type": "function_call_output", "call_id": "", "output": ""}]}),
    ("openai-chat", _chat({**CALL, "id": LONG})),
    ("openai-chat", _chat({**CALL, "id": "call_1__sig0__AAAA"})),
    ("openai-chat", _chat({**CALL, "extra_content": {"google": {"thought_signature": "x"}}})),
]
UNCHANGED: list[tuple[Wire, dict[str, Any]]] = [
    ("anthropic", _assistant({"type": "thinking", "thinking": "Hm.", "signature": "abc"})),
    ("anthropic", {"messages": "none"}),
    ("openai-responses", {"input": [{"type": "function_call_output", "call_id": "call_1", "output": ""}]}),
    ("openai-responses", {"input": "Hello"}),
    ("openai-responses", {"input": ["Hello", 1]}),
    ("openai-chat", _chat(CALL)),
    ("openai-chat", {"messages": [1, {"tool_call_id": 1}]}),
]
SIZES = ((4096, 400_000), (0, 400_000), (0, 0))
"""Bounds of a short body and of one that is read in one pass: a body is short, in between, or long."""


def _passed(monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int], wire: Wire, body: dict[str, Any]) -> Envelope:
    for module in (reasoning_filter, passed_fit):
        monkeypatch.setattr(module, "SHORT_BYTES", sizes[0])
        monkeypatch.setattr(module, "QUICK_BYTES", sizes[1])
    envelope = Envelope.open(json.dumps({"model": "m", **body}).encode())
    own = reasoning_filter.without_foreign_reasoning(envelope, wire)
    fitted = passed_fit.fit_passed(own, wire, STRICT, None)
    return envelope if fitted.raw == envelope.raw else fitted


@pytest.mark.parametrize(("wire", "body"), CHANGED)
def test_what_is_refused_changes_alike_in_every_size(
    monkeypatch: pytest.MonkeyPatch, wire: Wire, body: dict[str, Any]
) -> None:
    fitted = [json.loads(_passed(monkeypatch, sizes, wire, body).raw) for sizes in SIZES]

    assert fitted[0] != {"model": "m", **body}
    assert fitted[1] == fitted[0]
    assert fitted[2] == fitted[0]


@pytest.mark.parametrize(("wire", "body"), UNCHANGED)
@pytest.mark.parametrize("sizes", SIZES)
def test_what_is_taken_stays(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int], wire: Wire, body: dict[str, Any]
) -> None:
    raw = json.dumps({"model": "m", **body}).encode()

    assert _passed(monkeypatch, sizes, wire, body).raw == raw
