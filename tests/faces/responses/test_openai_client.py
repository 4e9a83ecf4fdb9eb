"""OpenAI's own client runs the Responses API over a provider that speaks only chat completions."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.agents.conftest import Upstream

ECHO: Any = {
    "type": "function",
    "name": "echo",
    "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
    "strict": False,
}
PNG = "data:image/png;base64,iVBORw0KGgo="


def test_a_response_is_created(openai_client: openai.OpenAI, plain: Upstream) -> None:
    response = openai_client.responses.create(model="plain:hello", input="Hi", instructions="Be kind.")
    assert response.output_text == "Hello, world."
    assert response.status == "completed"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.input_tokens_details.cached_tokens) == (11, 3)
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert [m["role"] for m in plain.requests()[0]["messages"]] == ["system", "user"]


def test_a_stream_has_its_events_in_order_and_ends_with_the_whole_response(
    openai_client: openai.OpenAI, plain: Upstream
) -> None:
    with openai_client.responses.stream(model="plain:reasoning", input="Hi") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "Then I answer."
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    thought = "".join(e.delta for e in events if e.type == "response.reasoning_summary_text.delta")
    assert thought == "First, I think."
    assert final.usage is not None
    assert final.usage.total_tokens == 18


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_calls_are_answered_over_several_turns(
    openai_client: openai.OpenAI, plain: Upstream, stream: bool
) -> None:
    conversation: list[Any] = [{"role": "user", "content": "go"}]
    response = _ask(openai_client, "plain:parallel:3", conversation, stream)
    calls = [item for item in response.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"x": 0}, {"x": 1}, {"x": 2}]
    assert len({call.call_id for call in calls}) == 3
    conversation += response.output
    conversation += [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"r{number}"}
        for number, call in enumerate(calls)
    ]
    assert _ask(openai_client, "plain:parallel:3", conversation, stream).output_text == "Tools said: r0 | r1 | r2"


def _ask(client: openai.OpenAI, model: str, conversation: list[Any], stream: bool) -> Any:
    if not stream:
        return client.responses.create(model=model, input=conversation, tools=[ECHO])
    with client.responses.stream(model=model, input=conversation, tools=[ECHO]) as events:
        return events.until_done().get_final_response()


class City(BaseModel):
    name: str


def test_structured_output_is_parsed(openai_client: openai.OpenAI, plain: Upstream) -> None:
    response = openai_client.responses.parse(model="plain:city", input="Which?", text_format=City)
    assert response.output_parsed == City(name="Rome")
    with openai_client.responses.stream(model="plain:city", input="Which?", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == City(name="Rome")


def test_images_reach_the_provider(openai_client: openai.OpenAI, plain: Upstream) -> None:
    parts: Any = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": PNG, "detail": "low"}]
    response = openai_client.responses.create(model="plain:vision", input=[{"role": "user", "content": parts}])
    assert response.output_text == "text,image_url"


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_byte_is_raised_as_its_status(
    openai_client: openai.OpenAI, plain: Upstream, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError, match="SECRET body of 400"):
        openai_client.responses.create(model="plain:status:400", input="Hi", stream=stream)
    with pytest.raises(openai.InternalServerError) as failure:
        openai_client.responses.create(model="plain:status:500", input="Hi", stream=stream)
    assert failure.value.status_code == 502
    assert failure.value.code == "PROVIDER_ERROR"


@pytest.mark.parametrize("model", ["plain:drop:2", "plain:in-stream-error", "plain:cut"])
def test_a_stream_that_breaks_fails_and_never_completes(
    openai_client: openai.OpenAI, plain: Upstream, model: str
) -> None:
    events = list(openai_client.responses.create(model=model, input="Hi", stream=True))
    last: Any = events[-1]
    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert last.response.error.code == "server_error"
    assert "SECRET" not in last.response.error.message
    assert last.response.output[0].status == "incomplete"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "response.completed" not in {event.type for event in events}


def test_a_refusal_is_a_part_of_the_message(openai_client: openai.OpenAI, plain: Upstream) -> None:
    with openai_client.responses.stream(model="plain:declining", input="Hi") as stream:
        final: Any = stream.get_final_response()
    assert final.output[0].content[0].refusal == "I will not."


def test_a_failed_provider_is_followed_by_the_next(openai_client: openai.OpenAI, plain: Upstream) -> None:
    raw = openai_client.responses.with_raw_response.create(model="failing-over", input="Hi")
    assert raw.headers["x-gateway-provider"] == "plain"
    assert raw.parse().output_text == "Hello, world."


def test_tools_that_were_left_out_are_named(openai_client: openai.OpenAI, plain: Upstream) -> None:
    raw = openai_client.responses.with_raw_response.create(
        model="plain:hello", input="Hi", tools=[{"type": "web_search"}, ECHO]
    )
    assert raw.headers["x-gateway-dropped-tools"] == "web_search"
    assert [tool["function"]["name"] for tool in plain.requests()[0]["tools"]] == ["echo"]


def test_an_unknown_response_is_not_found(openai_client: openai.OpenAI) -> None:
    for ask in (openai_client.responses.retrieve, openai_client.responses.delete, openai_client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            ask("resp_1")


def test_a_bad_field_is_named(openai_client: openai.OpenAI, plain: Upstream) -> None:
    items: Any = [{"type": "item_reference", "id": "msg_1"}]
    with pytest.raises(openai.BadRequestError) as refusal:
        openai_client.responses.create(model="plain:hello", input=items)
    assert refusal.value.param == "input[0]"


def test_a_provider_of_anthropics_wire_serves_the_responses_api(
    openai_client: openai.OpenAI, everything: Upstream
) -> None:
    with openai_client.responses.stream(model="claude:tool", input="Hi", tools=[ECHO]) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call"]
    assert openai_client.responses.create(model="claude:hello", input="Hi").output_text == "Hello, world."


def test_a_provider_that_speaks_it_gets_the_request_as_it_came(
    openai_client: openai.OpenAI, everything: Upstream
) -> None:
    items: Any = [{"role": "user", "content": "Hi"}]
    events = list(openai_client.responses.create(model="everything:hello", input=items, stream=True))
    assert events[-1].type == "response.completed"
    assert everything.requests()[0]["input"] == [{"role": "user", "content": "Hi"}]


def test_a_passed_through_stream_that_breaks_ends_its_own_response_as_failed(
    openai_client: openai.OpenAI, everything: Upstream
) -> None:
    items: Any = [{"role": "user", "content": "Hi"}]
    events: list[Any] = list(openai_client.responses.create(model="everything:drop:2", input=items, stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.id == events[0].response.id
    assert [event.sequence_number for event in events] == list(range(len(events)))


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_chat_is_served_by_a_provider_of_another_wire(
    openai_client: openai.OpenAI, everything: Upstream, stream: bool
) -> None:
    messages: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    answer: Any = openai_client.chat.completions.create(model="claude:hello", messages=messages, stream=stream)
    if stream:
        chunks = list(answer)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello, world."
        assert chunks[-1].choices[0].finish_reason == "stop"
    else:
        assert answer.choices[0].message.content == "Hello, world."
        assert answer.usage.prompt_tokens == 14


def test_a_model_that_is_known_not_to_reason_is_not_told_how_hard(
    openai_client: openai.OpenAI, everything: Upstream
) -> None:
    for model in ("claude:hello", "claude:reasoning"):
        openai_client.responses.create(model=model, input="Hi", reasoning={"effort": "high"})
    known, unknown = everything.requests()
    assert "output_config" not in known
    assert unknown["output_config"] == {"effort": "high"}


def test_a_conversation_goes_on_at_a_provider_that_does_not_know_what_was_thought_before(
    openai_client: openai.OpenAI, plain: Upstream, everything: Upstream
) -> None:
    first = openai_client.responses.create(model="plain:reasoning", input="Hi")
    assert [item.type for item in first.output] == ["reasoning", "message"]
    known: Any = {"type": "reasoning", "id": "rs_68af4030592c81938ec0a5fbab4a3e9f", "summary": []}
    history: Any = [item.model_dump(exclude_none=True) for item in first.output]
    openai_client.responses.create(model="gpt:hello", input=[*history, known, {"role": "user", "content": "And?"}])
    (body,) = everything.requests()
    assert [item.get("type") for item in body["input"]] == ["message", "reasoning", None]
    assert body["input"][1] == known


@pytest.mark.parametrize("provider", ["plain", "gpt"])
def test_a_client_that_closes_its_stream_ends_the_providers(
    openai_client: openai.OpenAI, plain: Upstream, everything: Upstream, provider: str
) -> None:
    upstream = plain if provider == "plain" else everything
    asked: Any = [{"role": "user", "content": "Hi"}]
    stream = openai_client.responses.create(model=f"{provider}:slow:5", input=asked, stream=True)
    next(event for event in stream if event.type == "response.output_text.delta")
    assert upstream.open_streams() == 1
    stream.close()
    deadline = time.monotonic() + 60
    while upstream.open_streams():
        assert time.monotonic() < deadline, "the provider's stream goes on"


@pytest.mark.parametrize("provider", ["plain", "gpt"])
def test_the_client_tries_again_by_itself(
    openai_client: openai.OpenAI, plain: Upstream, everything: Upstream, provider: str
) -> None:
    asked: Any = [{"role": "user", "content": "Hi"}]
    trying = openai_client.with_options(max_retries=2)
    answer = trying.responses.create(model=f"{provider}:flaky:503:2", input=asked)
    assert answer.output_text == "Hello, world."
    assert len((plain if provider == "plain" else everything).requests()) == 3
