"""The demo answers clients of every wire, offline: listed, streamed, with tools, counted, and refused where it must."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from core_app.http1 import HttpClientError
from inference_app.demo.pace import PACED_ACTS, pace_acts
from inference_app.demo.script import Say, Turn, stations, tour
from inference_app.relay.demo_provider import demo_response
from tests.faces.inference.conftest import RelayClient, ledger

SAID = "This is the demo of the gateway, no model was asked: you wrote “Hi”."
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


async def test_the_demo_is_listed_for_clients_of_both_kinds(relay: RelayClient) -> None:
    ids = [model["id"] for model in (await relay.get("/v1/models")).json["data"]]
    assert {"demo:tour", "demo:echo"} <= set(ids)
    anthropic = await relay.get("/v1/models", anthropic_version="2023-06-01")
    assert {"demo:tour", "demo:echo"} <= {model["id"] for model in anthropic.json["data"]}
    one = await relay.get("/v1/models/demo:tour")
    assert (one.status, one.json["owned_by"]) == (200, "demo")


async def test_a_chat_client_gets_a_whole_answer_that_says_what_else_to_try(relay: RelayClient) -> None:
    heard = await relay.chat("demo:tour")
    answer = heard.json["choices"][0]
    assert heard.status == 200
    assert answer["message"]["content"] == f"{SAID}\nTry: “think”, “long 200”."
    assert (answer["finish_reason"], heard.json["model"]) == ("stop", "tour")
    assert heard.headers["x-gateway-provider"] == "demo"


async def test_a_chat_client_gets_a_stream_word_by_word(relay: RelayClient) -> None:
    heard = await relay.chat("demo:tour", stream=True, stream_options={"include_usage": True})
    assert heard.text.startswith(SAID)
    assert sum(bool(event["choices"]) for event in heard.events) > 15
    assert heard.events[-1]["usage"]["completion_tokens"] > 0
    assert heard.body.endswith(b"data: [DONE]\n\n")


async def test_a_responses_client_is_answered(relay: RelayClient) -> None:
    whole = await relay.post("/v1/responses", {"model": "demo:tour", "input": "Hi", "store": False})
    assert whole.status == 200, whole.body
    texts = [part["text"] for item in whole.json["output"] for part in item.get("content", ())]
    assert texts[0].startswith(SAID)
    streamed = await relay.post("/v1/responses", {"model": "demo:tour", "input": "Hi", "store": False, "stream": True})
    assert streamed.events[-1]["type"] == "response.completed"


async def test_a_messages_client_is_answered(relay: RelayClient) -> None:
    body = {"model": "demo:tour", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hi"}]}
    whole = await relay.post("/v1/messages", body)
    assert whole.status == 200, whole.body
    assert whole.json["content"][0]["text"].startswith(SAID)
    streamed = await relay.post("/v1/messages", {**body, "stream": True})
    assert streamed.events[-1]["type"] == "message_stop"


async def test_a_tool_is_called_and_its_result_is_answered(relay: RelayClient) -> None:
    prompt = {"role": "user", "content": 'use weather {"city": "Paris"}'}
    first = await relay.chat("demo:tour", messages=[prompt], tools=[WEATHER])
    (call,) = first.json["choices"][0]["message"]["tool_calls"]
    assert first.json["choices"][0]["finish_reason"] == "tool_calls"
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    second = await relay.chat("demo:tour", messages=[prompt, called, result], tools=[WEATHER])
    assert "weather answered: sunny" in second.json["choices"][0]["message"]["content"]


async def test_an_answer_has_the_form_that_was_asked_for(relay: RelayClient) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    heard = await relay.chat("demo:tour", response_format=form)
    assert heard.json["choices"][0]["message"]["content"].strip() == '{"ok":false}'


async def test_it_costs_nothing_and_is_counted(relay: RelayClient) -> None:
    await relay.chat("demo:tour")
    (entry,) = await ledger()
    assert (entry.model, entry.cost_usd) == ("demo:tour", Decimal(0))
    assert entry.output_tokens > 0


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "demo:nosuch", "messages": [{"role": "user", "content": "Hi"}]}, 503),
        ("/v1/chat/completions", {"model": "demo:tour", "messages": [{"role": "user", "content": "fail"}]}, 502),
        ("/v1/embeddings", {"model": "demo:tour", "input": "Hi"}, 404),
    ],
)
async def test_what_it_does_not_have_is_refused(
    relay: RelayClient, path: str, body: dict[str, Any], status: int
) -> None:
    assert (await relay.post(path, body)).status == status


async def test_a_reader_that_goes_ends_the_answer(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.GATEWAY_DEMO_DELAY_MS = 60_000
    body = b'{"model": "tour", "stream": true, "messages": [{"role": "user", "content": "long 100"}]}'
    response = await demo_response(body)
    (made,) = [task for task in asyncio.all_tasks() if task.get_name() == "demo response"]
    await response.readany()
    response.close()
    await asyncio.wait([made])
    assert made.cancelled()
    with pytest.raises(HttpClientError):
        await response.readany()


async def test_only_the_beginning_of_an_answer_is_slow(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("inference_app.demo.pace.asyncio.sleep", sleep)
    settings.GATEWAY_DEMO_DELAY_MS = 30
    words = [act async for act in pace_acts(tour(Turn("long 1000")))]
    assert (len(words) > 1000, pauses) == (True, [0.03] * (PACED_ACTS - 1))
    pauses.clear()
    assert [act async for act in pace_acts(iter([Say("a"), Say("b"), Say("c")]), delay_ms=5)]
    assert pauses == [0.005, 0.005]


def test_what_to_try_depends_on_the_tools_of_the_request() -> None:
    assert stations([]) == ["think", "long 200"]
    there = ["ask_user", "demo_approval", "weather"]
    assert stations(there) == ["approve this", "ask me", "think", "use weather", "long 200"]
    assert "Try:" not in "".join(act.text for act in tour(Turn("Hi", first=False)) if isinstance(act, Say))
