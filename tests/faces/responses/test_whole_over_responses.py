"""Complete responses of a provider that speaks only the Responses API, for the clients of every dialect."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai

from tests.agents.conftest import Upstream

FUNCTION: Any = {"name": "echo", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}


def test_a_response_passes_through(openai_client: openai.OpenAI, everything: Upstream) -> None:
    answer = openai_client.responses.create(
        model="gpt:hello", input=[{"role": "user", "content": "Hi"}], metadata={"kept": "yes"}, store=False
    )
    assert (answer.id, answer.output_text) == ("r1", "Hello, world.")
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.cached_tokens == 3
    raw = openai_client.responses.with_raw_response.create(model="gpt:hello", input=[{"role": "user", "content": "Hi"}])
    assert (raw.headers["x-gateway-provider"], raw.headers["x-gateway-attempts"]) == ("gpt", "1")


def test_a_chat_completion_is_converted_there_and_back(openai_client: openai.OpenAI, everything: Upstream) -> None:
    tools: Any = [{"type": "function", "function": FUNCTION}]
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    answer = openai_client.chat.completions.create(model="gpt:parallel:2", messages=messages, tools=tools)
    (choice,) = answer.choices
    calls: list[Any] = list(choice.message.tool_calls or ())
    assert [json.loads(call.function.arguments) for call in calls] == [{"x": 0}, {"x": 1}]
    assert choice.finish_reason == "tool_calls"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3


def test_a_message_is_converted_there_and_back(anthropic_client: anthropic.Anthropic, everything: Upstream) -> None:
    asked: Any = [{"role": "user", "content": "Hi"}]
    answer = anthropic_client.messages.create(model="gpt:reasoning", max_tokens=50, messages=asked)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.stop_reason == "end_turn"


def test_a_large_request_and_answer_are_converted_too(
    anthropic_client: anthropic.Anthropic, everything: Upstream
) -> None:
    asked: Any = [{"role": "user", "content": "x" * 300_000}]
    answer = anthropic_client.messages.create(model="gpt:hello", max_tokens=50, messages=asked)
    assert answer.content[0].type == "text"
