"""A running request keeps the configuration it began with, whatever happens to the file meanwhile."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from tests.faces.inference.conftest import RelayClient, ledger
from tests.faces.inference.scripted import (
    CONFIG,
    DROP,
    PATHS,
    SSE,
    STREAM,
    WHOLE,
    WIRES,
    Reply,
    body,
    configure,
    question,
    scripted,
    sse,
)  # fmt: skip
from tests.gateway_harness import eventually

PAIRS = list(product(PATHS, WIRES))
NAMES = {"chat": "openai-chat", "responses": "openai-responses", "messages": "anthropic"}


def gone(url: str, wire: str, price: str = "") -> str:
    base = url if wire == "messages" else f"{url}/v1"
    model = f"models: [{{id: m, price: {{input: {price}, output: 0}}}}]" if price else ""
    return f'gone: {{base_url: "{base}", api_key: none, wire: {NAMES[wire]}, {model}}}'


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@pytest.mark.parametrize("end", ["reset", "complete", "leaves"])
async def test_a_provider_that_is_taken_out_of_the_file_ends_its_streams_well(
    relay: RelayClient, settings: Any, client: str, wire: str, end: str
) -> None:
    gate = asyncio.Event()
    begun = {"chat": 1, "responses": 4, "messages": 3}[wire]
    last = sse(*STREAM[wire][begun:]) if end == "complete" else DROP
    reply = Reply(pieces=[sse(*STREAM[wire][:begun]), last], headers=SSE, gate=gate)
    async with scripted(settings, reply) as provider:
        text = CONFIG.format(url=provider.url, providers=gone(provider.url, wire, "1000000"), retries=0)
        configure(settings, text)
        asked = question(client, "gone:m", stream=True)
        async with relay.open_request(PATHS[client], asked) as heard:
            await heard.until(lambda: b"Hi" in heard.body)
            configure(settings, CONFIG.format(url=provider.url, providers="", retries=0))
            if end != "leaves":
                gate.set()
                await heard.until(lambda: heard.ended)
        gate.set()
    assert heard.status == 200
    if end == "reset":
        assert b"error" in heard.body
        assert b"gone: stream_interrupted" in heard.body
    (entry,) = await ledger()
    assert entry.model == "gone:m"
    assert entry.cost_usd == Decimal(entry.input_tokens)


async def test_a_whole_answer_is_priced_as_when_it_was_asked_for(relay: RelayClient, settings: Any) -> None:
    gate = asyncio.Event()
    answer = body(WHOLE["chat"])
    async with scripted(settings, Reply(pieces=[answer[:5], answer[5:]], gate=gate)) as provider:
        url = provider.url
        configure(settings, CONFIG.format(url=url, providers=gone(url, "chat", "1000000"), retries=0))
        asked = question("chat", "gone:m")
        async with relay.open_request("/v1/chat/completions", asked) as heard:
            await eventually(lambda: bool(provider.requests))
            configure(settings, CONFIG.format(url=url, providers=gone(url, "chat", "5"), retries=0))
            gate.set()
            await heard.until(lambda: heard.ended)
    (entry,) = await ledger()
    assert (heard.status, entry.cost_usd) == (200, Decimal(11))
