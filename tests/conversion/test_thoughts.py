"""Earlier thoughts of the model are kept out of requests, but for models that refuse a conversation without them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversion.building import Json, converted

INSISTING = ["deepseek-reasoner", "deepseek/deepseek-v4-pro", "deepseek-ai/DeepSeek-V3.2", "kimi-k2-thinking"]
OTHERS = ["deepseek-chat", "gpt-5", "qwen3", "moonshotai/kimi-k2-instruct", "deepseek-r1-distill-llama-70b"]


def in_messages(model: str) -> list[Json]:
    """The assistant's messages of a conversation as Anthropic's clients send it back."""
    use: Any = {"type": "tool_use", "id": "a", "name": "look", "input": {}}
    thought: Any = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    answer: Any = {"type": "tool_result", "tool_use_id": "a", "content": "x"}
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [thought, {"type": "redacted_thinking", "data": "x"}, use]},
        {"role": "user", "content": [answer]},
        {"role": "assistant", "content": "Seen."},
        {"role": "user", "content": "And?"},
    ]
    return _assistants(converted("messages", {"model": model, "max_tokens": 9, "messages": messages}))


def in_responses(model: str) -> list[Json]:
    """The same of the Responses API's."""
    items = [
        {"role": "user", "content": "Look."},
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm."}], "content": None},
        {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "x"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Seen."}]},
        {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "Nobody went on from it."}]},
        {"role": "user", "content": "And?"},
    ]
    return _assistants(converted("responses", {"model": model, "input": items}))


def _assistants(chat: Json) -> list[Json]:
    return [message for message in chat["messages"] if message["role"] == "assistant"]


@pytest.mark.parametrize("conversation", [in_messages, in_responses])
@pytest.mark.parametrize("model", INSISTING)
def test_a_model_that_insists_on_its_thoughts_gets_them(model: str, conversation: Any) -> None:
    assert [message["reasoning_content"] for message in conversation(model)] == ["Hm.", ""]


@pytest.mark.parametrize("conversation", [in_messages, in_responses])
@pytest.mark.parametrize("model", OTHERS)
def test_no_other_model_is_told_what_was_thought(model: str, conversation: Any) -> None:
    assert all("reasoning_content" not in message for message in conversation(model))


SAID = [{"role": "user", "content": "Hi"}]
LONG = '{"device_id":"' + "0" * 64 + '","account_uuid":"","session_id":"5a1c"}'


@pytest.mark.parametrize(("given", "kept"), [("user-1", True), ("u" * 64, True), ("u" * 65, False), (LONG, False)])
def test_a_user_that_providers_would_refuse_for_its_length_becomes_a_hash(given: str, kept: bool) -> None:
    asked = {"model": "m", "max_tokens": 9, "messages": SAID, "metadata": {"user_id": given}}
    first, again = [converted("messages", asked)["user"] for _ in range(2)]
    assert first == again
    assert len(first) <= 64
    assert (first == given) is kept
