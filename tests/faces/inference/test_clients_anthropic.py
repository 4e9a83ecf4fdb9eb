"""Anthropic's official Python client over a real gateway process, on its own wire and on OpenAI's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from tests.agents.conftest import Upstream
from tests.faces.inference.served import serve_gateway
from tests.stack.deployment import KEY

USER: Any = [{"role": "user", "content": "Hi"}]
ECHO: Any = {"name": "echo", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}
PIXEL: Any = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}

PROVIDERS = ["messages", "chat"]


@pytest.fixture(scope="module")
def client(upstream_process: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anthropic]:
    with (
        serve_gateway(tmp_path_factory.mktemp("anthropic"), upstream_process) as (process,),
        Anthropic(base_url=process.url, api_key=KEY, max_retries=0) as made,
    ):
        yield made


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_message_is_answered(client: Anthropic, provider: str) -> None:
    answer = client.messages.create(model=f"{provider}:hello", max_tokens=50, messages=USER)
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "Hello, world."
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens == 7


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_message_is_streamed(client: Anthropic, provider: str) -> None:
    with client.messages.stream(model=f"{provider}:words:50", max_tokens=500, messages=USER) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "".join(f"word{number} " for number in range(50))
    assert final.usage.output_tokens == 7


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True])
def test_parallel_tool_uses_arrive_whole(client: Anthropic, provider: str, stream: bool) -> None:
    asked: Any = {"model": f"{provider}:parallel:3", "max_tokens": 500, "messages": USER, "tools": [ECHO]}
    if stream:
        with client.messages.stream(**asked) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(**asked)
    used = [block for block in answer.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in used] == [("echo", {"x": number}) for number in range(3)]
    assert answer.stop_reason == ("tool_use")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_turn_with_results_of_tools_goes_on(client: Anthropic, provider: str) -> None:
    first = client.messages.create(model=f"{provider}:tool", max_tokens=500, messages=USER, tools=[ECHO])
    (used,) = [block for block in first.content if block.type == "tool_use"]
    result: Any = {"type": "tool_result", "tool_use_id": used.id, "content": "seven"}
    messages: Any = [*USER, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = client.messages.create(model=f"{provider}:tool", max_tokens=500, messages=messages, tools=[ECHO])
    assert second.content[0].type == "text"
    assert second.content[0].text == "Tools said: seven"


def test_images_reach_a_provider_of_the_other_wire(client: Anthropic) -> None:
    parts: Any = [{"type": "text", "text": "What?"}, {"type": "image", "source": PIXEL}]
    answer = client.messages.create(model="chat:vision", max_tokens=50, messages=[{"role": "user", "content": parts}])
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "text,image_url"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_reasoning_is_thinking(client: Anthropic, provider: str) -> None:
    answer = client.messages.create(model=f"{provider}:reasoning", max_tokens=500, messages=USER)
    assert [block.type for block in answer.content] == ["thinking", "text"]


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("nobody-has-this", anthropic.NotFoundError),
        ("messages:status:400", anthropic.BadRequestError),
        ("chat:status:400", anthropic.BadRequestError),
        ("messages:status:500", anthropic.InternalServerError),
    ],
)
def test_errors_have_the_clients_own_types(
    client: Anthropic, model: str, error: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(error) as caught:
        client.messages.create(model=model, max_tokens=50, messages=USER)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "error"


def test_a_wrong_key_is_an_authentication_error(client: Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="wrong").messages.create(model="messages:hello", max_tokens=5, messages=USER)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_that_breaks_raises_in_the_client(client: Anthropic, provider: str) -> None:
    said: list[str] = []
    with (
        pytest.raises(anthropic.APIError) as caught,
        client.messages.stream(model=f"{provider}:drop:2", max_tokens=50, messages=USER) as stream,
    ):
        said.extend(stream.text_stream)
    assert said == ["piece0 ", "piece1 "]
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_client_that_closes_its_stream_ends_the_providers(
    client: Anthropic, upstream_process: Upstream, provider: str
) -> None:
    with client.messages.stream(model=f"{provider}:slow:5", max_tokens=50, messages=USER) as stream:
        next(stream.text_stream)
        assert upstream_process.open_streams() == 1
    deadline = time.monotonic() + 60
    while upstream_process.open_streams():
        assert time.monotonic() < deadline, "the provider's stream goes on"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_client_tries_again_by_itself(client: Anthropic, upstream_process: Upstream, provider: str) -> None:
    upstream_process.reset()
    trying = client.with_options(max_retries=2)
    answer = trying.messages.create(model=f"{provider}:flaky:503:2", max_tokens=50, messages=USER)
    assert answer.content[0].type == "text"
    assert len(upstream_process.requests()) == 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_structured_output_is_asked_for_on_either_wire(
    client: Anthropic, upstream_process: Upstream, provider: str
) -> None:
    upstream_process.reset()
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wanted: Any = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    asked = client.messages.create(model=f"{provider}:structured", max_tokens=50, messages=USER, extra_body=wanted)
    assert asked.content[0].type == "text"
    assert "Rome" in asked.content[0].text
    (sent,) = upstream_process.requests()
    if provider == "chat":
        assert sent["response_format"]["json_schema"]["schema"] == schema
    else:
        assert sent["output_config"]["format"]["schema"] == schema


@pytest.mark.parametrize("provider", PROVIDERS)
def test_tokens_are_counted(client: Anthropic, provider: str) -> None:
    assert client.messages.count_tokens(model=f"{provider}:hello", messages=USER).input_tokens > 0


def test_models_are_listed(client: Anthropic) -> None:
    assert "claude-hello" in {model.id for model in client.models.list()}


def test_models_come_in_pages(client: Anthropic) -> None:
    every = [model.id for model in client.models.list()]
    assert [model.id for model in client.models.list(limit=1)] == every
    page = client.models.list(limit=1)
    assert (page.first_id, page.last_id, page.has_more, len(page.data)) == (every[0], every[0], True, 1)
    assert [model.id for model in client.models.list(after_id=every[0], limit=1000)] == every[1:]
    before = client.models.list(before_id=every[-1], limit=1)
    assert ([model.id for model in before.data], before.has_more) == ([every[-2]], len(every) > 2)
    with pytest.raises(anthropic.BadRequestError):
        client.models.list(after_id="nobody-has-this")
    with pytest.raises(anthropic.BadRequestError):
        client.models.list(limit=0)


@pytest.mark.parametrize(
    "asked",
    [
        lambda client: client.messages.batches.list(),
        lambda client: client.beta.files.list(),
        lambda client: client.beta.skills.list(),
    ],
)
def test_what_the_gateway_has_not_is_not_found_in_the_clients_own_words(client: Anthropic, asked: Any) -> None:
    with pytest.raises(anthropic.NotFoundError, match="nothing at this path") as caught:
        asked(client)
    assert caught.value.type == "not_found_error"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_requests_id_is_where_the_client_looks_for_it(client: Anthropic, provider: str) -> None:
    answer = client.messages.with_raw_response.create(model=f"{provider}:hello", max_tokens=9, messages=USER)
    assert answer.parse()._request_id == answer.headers["x-request-id"]
    with client.messages.stream(model=f"{provider}:hello", max_tokens=9, messages=USER) as stream:
        assert stream.request_id
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="nobody-has-this", max_tokens=9, messages=USER)
    assert caught.value.request_id


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_anthropic_alone_knows_breaks_no_other_provider(client: Anthropic, provider: str) -> None:
    cached: Any = {"type": "ephemeral", "ttl": "1h"}
    document: Any = {"type": "text", "media_type": "text/plain", "data": "abc"}
    searched: Any = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "t"},
    ]
    asked: Any = [
        {"type": "document", "source": document, "title": "t", "citations": {"enabled": True}},
        {"type": "text", "text": "q", "cache_control": cached},
    ]
    tools: Any = [{"type": "web_search_20250305", "name": "web_search"}, {"name": "echo", "input_schema": {}}]
    with client.beta.messages.stream(
        model=f"{provider}:hello",
        max_tokens=2000,
        system=[{"type": "text", "text": "s", "cache_control": cached}],
        messages=[*USER, {"role": "assistant", "content": searched}, {"role": "user", "content": asked}],
        tools=tools,
        thinking={"type": "enabled", "budget_tokens": 1024},
        betas=["context-1m-2025-08-07", "fine-grained-tool-streaming-2025-05-14"],
    ) as stream:
        assert stream.get_final_message().stop_reason == "end_turn"
