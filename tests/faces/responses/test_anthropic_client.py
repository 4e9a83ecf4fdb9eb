"""Anthropic's own client runs the Messages API over a provider that speaks only chat completions."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.agents.conftest import Upstream

ECHO: Any = {"name": "echo", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}
IMAGE: Any = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
    "cache_control": {"type": "ephemeral"},
}


def user(content: Any) -> Any:
    return {"role": "user", "content": content}


def create(client: anthropic.Anthropic, model: str, *messages: Any, stream: bool = False, **fields: Any) -> Any:
    asked: Any = {"model": model, "max_tokens": 100, "messages": list(messages), **fields}
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        return events.get_final_message()


@pytest.mark.parametrize("stream", [False, True])
def test_a_message_is_answered(anthropic_client: anthropic.Anthropic, plain: Upstream, stream: bool) -> None:
    system: Any = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    message = create(anthropic_client, "plain:hello", user("Hi"), stream=stream, system=system)
    assert message.content[0].text == "Hello, world."
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (8, 3)
    assert message.usage.output_tokens == 7
    asked = plain.requests()[0]
    assert asked["messages"][0] == {"role": "system", "content": "Be kind."}
    assert "cache_control" not in str(asked)


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_tools_are_used_over_several_turns(
    anthropic_client: anthropic.Anthropic, plain: Upstream, stream: bool
) -> None:
    first = create(anthropic_client, "plain:parallel:3", user("go"), stream=stream, tools=[ECHO])
    uses = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert [use.input for use in uses] == [{"x": 0}, {"x": 1}, {"x": 2}]
    results: Any = [{"type": "tool_result", "tool_use_id": use.id, "content": f"r{n}"} for n, use in enumerate(uses)]
    results[1] |= {"content": [{"type": "text", "text": "r1"}], "is_error": True}
    again = create(
        anthropic_client,
        "plain:parallel:3",
        user("go"),
        {"role": "assistant", "content": first.content},
        user(results),
        stream=stream,
        tools=[ECHO],
    )
    assert again.content[0].text == "Tools said: r0 | Error: r1 | r2"


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_a_block_of_its_own(anthropic_client: anthropic.Anthropic, plain: Upstream, stream: bool) -> None:
    message = create(anthropic_client, "plain:reasoning", user("Hi"), stream=stream)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == "First, I think."


def test_images_reach_the_provider(anthropic_client: anthropic.Anthropic, plain: Upstream) -> None:
    message = create(anthropic_client, "plain:vision", user([{"type": "text", "text": "What?"}, IMAGE]))
    assert message.content[0].text == "text,image_url"


def test_tokens_are_estimated_where_the_provider_counts_none(
    anthropic_client: anthropic.Anthropic, plain: Upstream
) -> None:
    few = anthropic_client.messages.count_tokens(model="plain:hello", messages=[user("Hi")])
    many = anthropic_client.messages.count_tokens(model="plain:hello", messages=[user("Hi there " * 100)])
    assert 0 < few.input_tokens < 20 < many.input_tokens < 1000
    assert plain.requests() == []


def test_an_unknown_model_is_not_found_when_tokens_are_counted(anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.messages.count_tokens(model="nobody-has-this", messages=[user("Hi")])


@pytest.mark.parametrize("model", ["plain:drop:2", "plain:in-stream-error", "plain:cut"])
def test_a_stream_that_breaks_raises(anthropic_client: anthropic.Anthropic, plain: Upstream, model: str) -> None:
    with pytest.raises(anthropic.APIError) as failure:
        create(anthropic_client, model, user("Hi"), stream=True)
    assert "SECRET" not in str(failure.value)


def test_an_error_is_raised_as_its_status(anthropic_client: anthropic.Anthropic, plain: Upstream) -> None:
    with pytest.raises(anthropic.BadRequestError, match="SECRET body of 400"):
        create(anthropic_client, "plain:status:400", user("Hi"))
    with pytest.raises(anthropic.BadRequestError):
        create(anthropic_client, "plain:hello", {"role": "nobody", "content": "Hi"})


def test_structured_output_is_asked_for(anthropic_client: anthropic.Anthropic, plain: Upstream) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    wanted: Any = {"format": {"type": "json_schema", "schema": schema}}
    message = create(anthropic_client, "plain:city", user("Which?"), output_config=wanted)
    assert message.content[0].text == '{"name": "Rome"}'


def test_a_provider_of_the_responses_api_serves_messages(
    anthropic_client: anthropic.Anthropic, everything: Upstream
) -> None:
    message = create(anthropic_client, "gpt:tool", user("Hi"), stream=True, tools=[ECHO])
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert message.content[1].input == {"x": 1}
