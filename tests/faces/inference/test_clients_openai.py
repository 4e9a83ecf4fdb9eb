"""OpenAI's official Python client over a real gateway process, on the wires that OpenAI has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.agents.conftest import Upstream
from tests.faces.inference.served import serve_gateway
from tests.stack.deployment import KEY

USER: Any = [{"role": "user", "content": "Hi"}]
ECHO: Any = {
    "type": "function",
    "function": {"name": "echo", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}},
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


class City(BaseModel):
    city: str


@pytest.fixture(scope="module")
def client(upstream_process: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with (
        serve_gateway(tmp_path_factory.mktemp("openai"), upstream_process) as (process,),
        OpenAI(base_url=f"{process.url}/v1", api_key=KEY, max_retries=0) as made,
    ):
        yield made


# Each is asked of a provider of OpenAI's own wire, and of one that speaks only Anthropic's.
PROVIDERS = ["chat", "messages"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_chat_is_answered(client: OpenAI, provider: str) -> None:
    answer = client.chat.completions.with_raw_response.create(model=f"{provider}:hello", messages=USER)
    completion = answer.parse()
    assert completion.choices[0].message.content == "Hello, world."
    assert completion.usage is not None
    assert completion.usage.total_tokens >= 18
    assert answer.headers["x-gateway-provider"] == provider
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_chat_is_streamed(client: OpenAI, provider: str) -> None:
    stream = client.chat.completions.create(model=f"{provider}:words:50", messages=USER, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == "".join(f"word{number} " for number in range(50))


def test_usage_comes_with_a_stream_that_asks_for_it(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="chat:hello", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    *_, last = stream
    assert last.usage is not None
    assert last.usage.completion_tokens == 7


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True])
def test_parallel_tool_calls_arrive_whole(client: OpenAI, provider: str, stream: bool) -> None:
    asked: Any = {"model": f"{provider}:parallel:3", "messages": USER, "tools": [ECHO]}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            message: Any = events.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**asked).choices[0].message
    arguments = [call.function.arguments for call in message.tool_calls or ()]
    assert [argument.replace(" ", "") for argument in arguments] == ['{"x":0}', '{"x":1}', '{"x":2}']
    assert {call.function.name for call in message.tool_calls or ()} == {"echo"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_turn_with_results_of_tools_goes_on(client: OpenAI, provider: str) -> None:
    first = client.chat.completions.create(model=f"{provider}:tool", messages=USER, tools=[ECHO]).choices[0].message
    assert first.tool_calls
    told: Any = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "seven"}
    messages: Any = [*USER, first.model_dump(exclude_none=True), told]
    second = client.chat.completions.create(model=f"{provider}:tool", messages=messages, tools=[ECHO])
    assert second.choices[0].message.content == "Tools said: seven"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_structured_output_is_parsed(client: OpenAI, provider: str) -> None:
    answer = client.chat.completions.parse(
        model=f"{provider}:structured-tool", messages=_answered_tool(), response_format=City
    )
    assert answer.choices[0].message.parsed == City(city="Rome")


def _answered_tool() -> Any:
    call = {"id": "c", "type": "function", "function": {"name": "echo", "arguments": "{}"}}
    return [*USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "x"}]


def test_images_reach_the_provider(client: OpenAI) -> None:
    parts: Any = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    answer = client.chat.completions.create(model="chat:vision", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "text,image_url"


def test_unknown_fields_reach_the_provider(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="chat:settings", messages=USER, seed=7, extra_body={"brand_new": [1]})
    assert '"seed": 7' in str(answer.choices[0].message.content)
    assert '"brand_new": [1]' in str(answer.choices[0].message.content)


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("nobody-has-this", openai.NotFoundError),
        ("chat:status:400", openai.BadRequestError),
        ("chat:status:422", openai.UnprocessableEntityError),
        ("chat:status:500", openai.InternalServerError),
    ],
)
def test_errors_have_the_clients_own_types(client: OpenAI, model: str, error: type[openai.APIStatusError]) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=USER)
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}


def test_a_wrong_key_is_an_authentication_error(client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="hello", messages=USER)


def test_the_gateway_tries_again_so_that_the_client_need_not(client: OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(model="flaky-first", messages=USER)
    assert (answer.headers["x-gateway-provider"], int(answer.headers["x-gateway-attempts"]) > 1) == ("everything", True)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_client_tries_again_by_itself(client: OpenAI, upstream_process: Upstream, provider: str) -> None:
    upstream_process.reset()
    answer = client.with_options(max_retries=2).chat.completions.create(model=f"{provider}:flaky:503:2", messages=USER)
    assert answer.choices[0].message.content == "Hello, world."
    assert len(upstream_process.requests()) == 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_that_breaks_raises_in_the_client(client: OpenAI, provider: str) -> None:
    said: list[Any] = []
    stream = client.chat.completions.create(model=f"{provider}:drop:2", messages=USER, stream=True)
    with pytest.raises(openai.APIError) as caught:
        said.extend(chunk.choices[0].delta.content for chunk in stream)
    assert list(filter(None, said)) == ["piece0 ", "piece1 "]
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_client_that_closes_its_stream_ends_the_providers(
    client: OpenAI, upstream_process: Upstream, provider: str
) -> None:
    stream = client.chat.completions.create(model=f"{provider}:slow:5", messages=USER, stream=True)
    next(iter(stream))
    assert upstream_process.open_streams() == 1
    stream.close()
    deadline = time.monotonic() + 60
    while upstream_process.open_streams():
        assert time.monotonic() < deadline, "the provider's stream goes on"


def test_embeddings_are_handed_on(client: OpenAI) -> None:
    answer = client.embeddings.create(model="chat:hello", input=["a", "b"])
    assert [item.embedding for item in answer.data] == [[0.5, -0.25]] * 2


def test_models_are_listed_and_shown(client: OpenAI) -> None:
    assert {"hello", "priced", "claude-hello"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("priced").owned_by == "chat"


@pytest.mark.parametrize(
    "asked",
    [
        lambda client: client.files.list(),
        lambda client: client.batches.list(),
        lambda client: client.moderations.create(input="x"),
        lambda client: client.images.generate(prompt="x"),
        lambda client: client.completions.create(model="chat:hello", prompt="x"),
        lambda client: client.chat.completions.messages.list("c1"),
        lambda client: client.vector_stores.list(),
    ],
)
def test_what_the_gateway_has_not_is_not_found_in_the_clients_own_words(client: OpenAI, asked: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="nothing at this path") as caught:
        asked(client)
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    assert caught.value.request_id


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_is_streamed_raw(client: OpenAI, provider: str) -> None:
    asked = client.chat.completions.with_streaming_response
    with asked.create(model=f"{provider}:hello", messages=USER, stream=True) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)


def test_fields_of_older_and_newer_clients_reach_the_provider(client: OpenAI) -> None:
    sound: Any = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    file: Any = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
    functions: Any = [{"name": "echo", "parameters": {"type": "object", "properties": {}}}]
    answer = client.chat.completions.create(
        model="chat:settings",
        messages=[{"role": "user", "content": [sound, file]}],
        functions=functions,
        function_call="auto",
        n=2,
        logprobs=True,
        top_logprobs=2,
    )
    said = str(answer.choices[0].message.content)
    for field in ('"functions": [', '"function_call": "auto"', '"n": 2', '"logprobs": true', '"top_logprobs": 2'):
        assert field in said
