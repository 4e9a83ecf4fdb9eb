"""The context of a response: compaction above a threshold, truncation by tokens, and the fields that are checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from responses_app.models import StoredResponse
from tests.faces.inference.scripted import CONFIG, STREAM, WHOLE, Reply, Scripted, body, configure, scripted, sse
from tests.faces.inference.scripted import SSE as EVENTS
from tests.gateway_harness import Client
from tests.responses.conftest import URL, Json, finished, numbers, posted, streamed, text_of, whole

pytestmark = pytest.mark.django_db(transaction=True)

WINDOW = 2000
LONG = "some words that are said " * 60
"""About 420 tokens by the estimate."""


@asynccontextmanager
async def windowed(settings: Any, *replies: Reply) -> AsyncIterator[Scripted]:
    """A provider of chat whose model `small:m` takes WINDOW tokens."""
    async with scripted(settings, *replies) as provider:
        models = f"[{{id: m, context_window: {WINDOW}}}]"
        entry = f'small: {{base_url: "{provider.url}/v1", api_key: none, models: {models}}}'
        configure(settings, CONFIG.format(url=provider.url, providers=entry, retries=0))
        yield provider


def turns(count: int) -> list[Json]:
    """Returns a conversation of the user's turns, each with an answer but the last."""
    items: list[Json] = []
    for number in range(count):
        items += [
            {"role": "user", "content": f"{number} {LONG}"},
            {"role": "assistant", "content": f"answer {number}"},
        ]
    return items[:-1]


def contents(request: Json) -> list[str]:
    return [str(message["content"]) for message in request["messages"]]


async def test_a_conversation_above_the_threshold_is_compacted_before_the_answer(api: Client, settings: Any) -> None:
    asked = {
        "model": "c:m",
        "input": turns(5),
        "context_management": [{"type": "compaction", "compact_threshold": 1000}],
    }
    async with scripted(settings, whole("They counted to four."), streamed("Five."), streamed("Six.")) as provider:
        response = (await api.post(URL, asked)).json
        more = {"model": "c:m", "input": "And then?", "previous_response_id": response["id"]}
        await api.post(URL, more)
    assert [item["type"] for item in response["output"]] == ["compaction", "message"]
    assert text_of(response) == "Five."
    summarised, answered, later = provider.requests
    assert contents(summarised)[-2].startswith("answer 3")
    # The newest turn stays as it was said; what was before it is its summary.
    assert [message["role"] for message in answered["messages"]] == ["system", "user"]
    assert "They counted to four." in contents(answered)[0]
    assert contents(answered)[1].startswith("4 ")
    # Later requests drop what the compaction stands for.
    assert contents(later) == [*contents(answered), "Five.", "And then?"]
    sealed = response["output"][0]["encrypted_content"]
    assert "counted" not in sealed


async def test_one_below_the_threshold_is_not(api: Client, settings: Any) -> None:
    asked = {"model": "c:m", "input": "Hi", "context_management": [{"type": "compaction", "compact_threshold": 1000}]}
    async with scripted(settings, streamed("Hi")) as provider:
        response = (await api.post(URL, asked)).json
    assert [item["type"] for item in response["output"]] == ["message"]
    assert len(provider.requests) == 1
    assert "x-gateway-dropped" not in (await api.get(f"{URL}/{response['id']}")).headers


@pytest.mark.parametrize("background", [False, True])
async def test_a_compaction_is_streamed_as_the_first_item(api: Client, settings: Any, background: bool) -> None:
    asked = {
        "model": "c:m", "input": turns(5), "stream": True, "background": background,
        "context_management": [{"type": "compaction", "compact_threshold": 1000}],
    }  # fmt: skip
    async with scripted(settings, whole("Counted."), streamed("Fi", "ve.")), posted(api, asked) as reader:
        frames = await reader.read_to_end()
    assert numbers(frames) == list(range(len(frames)))
    added = [frame.data for frame in frames if frame.event == "response.output_item.added"]
    assert [(one["output_index"], one["item"]["type"]) for one in added] == [(0, "compaction"), (1, "message")]
    assert text_of(frames[-1].data["response"]) == "Five."


async def test_without_a_number_the_threshold_is_a_share_of_the_models_window(api: Client, settings: Any) -> None:
    asked = {"model": "small:m", "input": turns(4), "context_management": [{"type": "compaction"}]}
    async with windowed(settings, whole("Counted."), streamed("Four.")) as provider:
        response = (await api.post(URL, asked)).json
        small = (await api.post(URL, {**asked, "input": "Hi"})).json
    assert [item["type"] for item in response["output"]] == ["compaction", "message"]
    assert [item["type"] for item in small["output"]] == ["message"]
    assert len(provider.requests) == 3


async def test_another_tenants_compaction_cannot_be_opened(
    api: Client, gateway: Any, stranger: Any, settings: Any
) -> None:
    asked = {
        "model": "c:m",
        "input": turns(5),
        "context_management": [{"type": "compaction", "compact_threshold": 1000}],
    }
    async with scripted(settings, whole("Counted."), streamed("Five.")):
        response = (await api.post(URL, asked)).json
        items = [response["output"][0], {"role": "user", "content": "And?"}]
        refused = await gateway.client(stranger).post(URL, {"model": "c:m", "input": items})
    assert (refused.status, refused.json["error"]["param"]) == (400, "input")


async def test_truncation_auto_drops_the_oldest_turns_with_their_calls(api: Client, settings: Any) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": LONG}
    told = {"role": "developer", "content": "Be kind."}
    items = [told, {"role": "user", "content": "first"}, call, output, *turns(5)]
    asked = {"model": "small:m", "input": items, "truncation": "auto", "max_output_tokens": 100}
    async with windowed(settings, streamed("Ok.")) as provider:
        response = (await api.post(URL, asked)).json
    assert (response["status"], response["truncation"]) == ("completed", "auto")
    said = provider.requests[0]["messages"]
    assert [message["role"] for message in said][:2] == ["system", "user"]
    assert contents(provider.requests[0])[-1].startswith("4 ")
    assert "tool" not in {message["role"] for message in said}
    assert "first" not in contents(provider.requests[0])
    assert 3 <= len(said) < len(items)
    # What was dropped for the model stays in the response's own input.
    listed = (await api.get(f"{URL}/{response['id']}/input_items?order=asc&limit=1")).json
    assert listed["data"][0]["content"][0]["text"] == "Be kind."


async def test_truncation_disabled_refuses_what_does_not_fit(api: Client, settings: Any) -> None:
    asked = {"model": "small:m", "input": turns(9), "truncation": "disabled"}
    alone = {"model": "small:m", "input": LONG * 9, "truncation": "auto"}
    async with windowed(settings, streamed("Hi")) as provider:
        refusals = [await api.post(URL, {**asked, **more}) for more in ({}, {"stream": True}, {"background": True})]
        refusals.append(await api.post(URL, alone))
        asked_before = len(provider.requests)
        fits = await api.post(URL, {**asked, "input": "Hi"})
        # Without the field it is the provider who says so.
        unsaid = await api.post(URL, {"model": "small:m", "input": turns(9), "stream": True})
    for refused in refusals:
        error = refused.json["error"]
        assert (refused.status, error["code"], error["param"]) == (400, "context_length_exceeded", "input")
    assert asked_before == 0
    assert (fits.status, unsaid.status) == (200, 200)
    assert await StoredResponse.objects.acount() == 2


async def test_a_provider_of_the_apis_own_wire_keeps_these_wishes(api: Client, settings: Any) -> None:
    wishes: Json = {
        "truncation": "auto", "max_tool_calls": 3, "metadata": {"a": "b"}, "prompt_cache_key": "k",
        "include": ["reasoning.encrypted_content"],
        "context_management": [{"type": "compaction", "compact_threshold": 5000}],
    }  # fmt: skip
    replies = [Reply(pieces=[body(WHOLE["responses"])]), Reply(pieces=[sse(*STREAM["responses"])], headers=EVENTS)]
    async with scripted(settings, *replies) as provider:
        await api.post(URL, {"model": "r:m", "input": "Hi", **wishes})
    assert {name: provider.requests[0][name] for name in wishes} == wishes


async def test_fields_reach_the_response_and_chat_gets_what_it_has(api: Client, settings: Any) -> None:
    asked: Json = {
        "model": "c:m", "input": "Hi", "metadata": {"topic": "x" * 500}, "prompt_cache_key": "key", "max_tool_calls": 2,
        "truncation": "auto", "include": ["reasoning.encrypted_content", "message.input_image.image_url"],
    }  # fmt: skip
    async with scripted(settings, streamed("Hi")) as provider:
        answer = await api.post(URL, asked)
        background = await api.post(URL, {**asked, "background": True})
        ended = await finished(api, background.json["id"])
    for response in (answer.json, ended):
        for name in ("metadata", "prompt_cache_key", "max_tool_calls", "truncation"):
            assert response[name] == asked[name]
    assert provider.requests[0]["prompt_cache_key"] == "key"
    for name in ("max_tool_calls", "truncation", "include"):
        assert name not in provider.requests[0]
    assert "x-gateway-dropped" not in answer.headers


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"include": ["everything"]}, "include[0]"),
        ({"include": "reasoning.encrypted_content"}, "include"),
        ({"truncation": "always"}, "truncation"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"max_tool_calls": True}, "max_tool_calls"),
        ({"prompt_cache_key": 1}, "prompt_cache_key"),
        ({"context_management": {}}, "context_management"),
        ({"context_management": [{"type": "magic"}]}, "context_management[0].type"),
        ({"context_management": [{"type": "compaction", "compact_threshold": 999}]},
         "context_management[0].compact_threshold"),
    ],
)  # fmt: skip
async def test_values_that_make_no_sense_are_refused_by_name(
    api: Client, settings: Any, fields: Json, param: str
) -> None:
    async with scripted(settings, streamed("Hi")) as provider:
        refused = await api.post(URL, {"model": "c:m", "input": "Hi", **fields})
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
    assert provider.requests == []
