"""Chat completions through the relay: bytes unchanged apart from the model's name, and counted once."""

from __future__ import annotations

from typing import Any

from edge_app.http.exchange import Exchange
from inference_app.providers.upstreams import FORWARDED_HEADERS
from inference_app.relay import ANTHROPIC
from tests.agents.conftest import Upstream
from tests.faces.inference.conftest import KEY, RelayClient, ledger


async def test_a_whole_answer_is_handed_on_as_it_came(relay: RelayClient, upstream: Upstream) -> None:
    heard = await relay.chat("hello")
    assert heard.status == 200
    assert heard.json["choices"][0]["message"]["content"] == "Hello, world."
    assert heard.headers["x-gateway-provider"] == "scripted"
    assert heard.headers["x-gateway-model"] == "hello"
    assert heard.headers["x-gateway-attempts"] == "1"
    assert heard.headers["x-request-id"].startswith("req_")


async def test_a_stream_is_handed_on_and_ends_as_it_came(relay: RelayClient) -> None:
    heard = await relay.chat("hello", stream=True)
    assert heard.headers["content-type"].startswith("text/event-stream")
    assert heard.text == "Hello, world."
    assert heard.body.endswith(b"data: [DONE]\n\n")


async def test_the_usage_is_asked_for_and_the_extra_chunk_kept_from_a_client_that_did_not_ask(
    relay: RelayClient, upstream: Upstream
) -> None:
    heard = await relay.chat("hello", stream=True)
    assert upstream.requests()[0]["stream_options"] == {"include_usage": True}
    assert all(event["choices"] for event in heard.events)
    asked = await relay.chat("hello", stream=True, stream_options={"include_usage": True})
    assert asked.events[-1]["usage"]["total_tokens"] == 18


async def test_every_field_reaches_the_provider(relay: RelayClient, upstream: Upstream) -> None:
    odd: dict[str, Any] = {"seed": 7, "brand_new": {"deep": [1, None, "ä"]}, "n": 2, "reasoning_effort": "low"}
    await relay.chat("hello", **odd)
    sent = upstream.requests()[0]
    assert {name: sent[name] for name in odd} == odd
    assert sent["model"] == "hello"


async def test_an_empty_list_of_tools_and_its_choice_are_dropped_alone(relay: RelayClient, upstream: Upstream) -> None:
    await relay.chat("hello", tools=[], tool_choice="auto", user="me")
    sent = upstream.requests()[0]
    assert ("tools" in sent, "tool_choice" in sent, sent["user"]) == (False, False, "me")


async def test_a_call_is_counted_once_with_its_price(relay: RelayClient) -> None:
    await relay.chat("hello", stream=True)
    (entry,) = await ledger()
    assert (entry.model, entry.kind) == ("scripted:hello", "inference")
    assert (entry.input_tokens, entry.output_tokens, entry.cached_tokens, entry.reasoning_tokens) == (11, 7, 3, 2)
    assert entry.cost_usd == 8 * 1 + 7 * 2


async def test_the_provider_gets_its_own_key_and_the_client_sees_nothing_of_it(
    relay: RelayClient, upstream: Upstream
) -> None:
    heard = await relay.chat("hello")
    assert upstream.requests()[0]["__authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in heard.body
    assert KEY not in str(heard.headers)


def test_a_header_in_several_lines_reaches_the_provider_whole() -> None:
    lines = [(b"anthropic-beta", b"one-2025"), (b"x-other", b"stays"), (b"anthropic-beta", b"two-2025")]
    exchange = Exchange({"headers": lines}, _ignore_message, _ignore_message, ANTHROPIC, 0)
    assert exchange.forwarded_headers(FORWARDED_HEADERS) == {"anthropic-beta": "one-2025,two-2025"}


async def _ignore_message(*_: Any) -> Any:
    return None
