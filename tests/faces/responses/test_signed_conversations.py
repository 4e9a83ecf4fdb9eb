"""Official clients go on with a tool loop over providers of every wire that demand their signatures back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from inference_app.catalogue.config import Wire
from tests.agents.conftest import Upstream
from tests.api.served import Served
from tests.conformance import refusal
from tests.faces.responses.demanding import MODELS, ONCE_MORE

Say = Callable[[Any, str, list[Any]], tuple[list[Any], list[str], str]]
"""Sends a conversation to a model; returns the client's next messages, the ids of calls among them, and the text."""

SCHEMA: Any = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
PROMPTS = ("Fix sum.py", f"Look at sum.py {ONCE_MORE}")
MAX_TURNS = 5


def say_chat(client: openai.OpenAI, model: str, conversation: list[Any]) -> tuple[list[Any], list[str], str]:
    tool: Any = {"type": "function", "function": {"name": "shell", "parameters": SCHEMA}}
    made = client.chat.completions.create(model=model, messages=conversation, tools=[tool], reasoning_effort="low")
    message = made.choices[0].message
    calls = [call.id for call in message.tool_calls or ()]
    return [message.to_dict()], calls, message.content or ""


def say_messages(client: anthropic.Anthropic, model: str, conversation: list[Any]) -> tuple[list[Any], list[str], str]:
    with client.messages.stream(
        model=model,
        max_tokens=8000,
        messages=conversation,
        tools=[{"name": "shell", "input_schema": SCHEMA}],
        thinking={"type": "enabled", "budget_tokens": 2000},
        output_config={"effort": "low"},
    ) as stream:
        message = stream.get_final_message()
    assert message.content[-1].type in ("text", "tool_use")
    calls = [block.id for block in message.content if block.type == "tool_use"]
    text = "".join(block.text for block in message.content if block.type == "text")
    return [{"role": "assistant", "content": [block.to_dict() for block in message.content]}], calls, text


def say_responses(client: openai.OpenAI, model: str, conversation: list[Any]) -> tuple[list[Any], list[str], str]:
    response = client.responses.create(
        model=model,
        input=conversation,
        tools=[{"type": "function", "name": "shell", "parameters": SCHEMA, "strict": False}],
        include=["reasoning.encrypted_content"],
        reasoning={"effort": "low"},
        store=False,
    )
    calls = [item.call_id for item in response.output if item.type == "function_call"]
    return [item.to_dict() for item in response.output], calls, response.output_text


def chat_results(calls: list[str]) -> list[Any]:
    return [{"role": "tool", "tool_call_id": call_id, "content": "done"} for call_id in calls]


def messages_results(calls: list[str]) -> list[Any]:
    blocks = [{"type": "tool_result", "tool_use_id": call_id, "content": "done"} for call_id in calls]
    return [{"role": "user", "content": blocks}]


def responses_results(calls: list[str]) -> list[Any]:
    return [{"type": "function_call_output", "call_id": call_id, "output": "done"} for call_id in calls]


CLIENTS: dict[Wire, tuple[Say, Callable[[list[str]], list[Any]]]] = {
    "openai-chat": (say_chat, chat_results),
    "anthropic": (say_messages, messages_results),
    "openai-responses": (say_responses, responses_results),
}


def client_of(dialect: Wire, gateway: Served) -> Any:
    key = gateway.keys["owner"]
    if dialect == "anthropic":
        return anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0)
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dialect", CLIENTS)
def test_no_thought_is_lost(signed_gateway: Served, demanding: Upstream, dialect: Wire, model: str) -> None:
    say, results = CLIENTS[dialect]
    conversation: list[Any] = []
    texts = []
    with client_of(dialect, signed_gateway) as client:
        for prompt in PROMPTS:
            conversation.append({"role": "user", "content": prompt})
            for _ in range(MAX_TURNS):
                said, calls, text = say(client, model, conversation)
                conversation += said
                if not calls:
                    break
                conversation += results(calls)
            texts.append(text)
    assert texts == ["Fixed the sum.", "Checked the sum."]
    requests = demanding.requests()
    assert len(requests) == 5
    assert [request["__lost"] for request in requests] == [[]] * 5
    wire = MODELS[model]
    if dialect != wire:
        extensions = frozenset(key for key in requests[0] if key.startswith("__"))
        assert [refusal(wire, request, extensions=extensions) for request in requests] == [None] * 5
