"""Usage from every place in use, merged by field; estimates with media as media; prices of caches and of counting."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from inference_app.relay.envelope import Envelope
from inference_app.relay.stream import StreamObserver
from inference_app.spend.budgets import BUDGETS, BudgetRule
from inference_app.spend.text_estimate import media_of
from inference_app.spend.usage import BODY, Usage
from tests.conftest import Caller
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
    chunk,
    configure,
    question,
    scripted,
    sse,
)  # fmt: skip

Json = dict[str, Any]
PAIRS = list(product(PATHS, WIRES))


def usage_of(document: Any) -> Usage | None:
    counted = BODY.decode(body(document)).reported_usage()
    return None if counted is None else counted.usage()


CHOICE = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
PLACES: list[tuple[Any, Usage]] = [
    ({"usage": {"prompt_tokens": 9, "completion_tokens": 4}}, Usage(9, 4)),
    ({"choices": [{**CHOICE, "usage": {"prompt_tokens": 9, "completion_tokens": 4}}]}, Usage(9, 4)),
    ({"usage": None, "x_groq": {"usage": {"prompt_tokens": 9, "completion_tokens": 4}}}, Usage(9, 4)),
    ({"usage": {"prompt_tokens": 9.0, "completion_tokens": "4"}}, Usage(9, 4)),
    ({"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": []}}, Usage(9, 4)),
    ({"usage": {"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 5}}, Usage(9, 4, cached=5)),
    ({"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 5}}, Usage(9, 4, cached=5)),
    ({"usage": {"input_tokens": 9, "output_tokens": 4, "cache_read_input_tokens": 5}}, Usage(14, 4, cached=5)),
    (
        {"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cache_write_tokens": 5}}},
        Usage(9, 4, written=5),
    ),
    (
        {
            "usage": {
                "input_tokens": 9,
                "output_tokens": 4,
                "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 2},
            }
        },
        Usage(16, 4, written=5, written_hour=2),
    ),
    (
        {
            "usage": {
                "prompt_tokens": 12,
                "completion_tokens": 2,
                "total_tokens": 331,
                "completion_tokens_details": {"reasoning_tokens": 317},
            }
        },
        Usage(12, 319, reasoning=317),
    ),
    ({"usage": {"prompt_tokens": 6, "completion_tokens": 9, "total_tokens": 1210}}, Usage(6, 1204)),
    (
        {"usage": {"prompt_tokens": 6, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 90}}},
        Usage(6, 99, reasoning=90),
    ),
    (
        {
            "usage": {
                "prompt_tokens": 6,
                "completion_tokens": 99,
                "total_tokens": 105,
                "completion_tokens_details": {"reasoning_tokens": 90},
            }
        },
        Usage(6, 99, reasoning=90),
    ),
    ({"usage": {"prompt_tokens": 5, "total_tokens": 5}}, Usage(5, 0)),
]


@pytest.mark.parametrize(("document", "wanted"), PLACES)
def test_usage_is_read_wherever_it_is(document: Any, wanted: Usage) -> None:
    assert usage_of(document) == wanted


@pytest.mark.parametrize("usage", [None, {}, [], "plenty", {"cost": 1}, {"prompt_tokens": None}, {"prompt_tokens": -5}])
def test_what_counts_nothing_is_no_usage(usage: Any) -> None:
    found = usage_of({"usage": usage, "choices": [CHOICE]})
    assert found is None or found == Usage(0, 0)


def observed(wire: Any, *events: Any, size: int = 10**9) -> StreamObserver:
    observer, given = StreamObserver(wire, strip_usage=False), sse(*events)
    for at in range(0, len(given), size):
        observer.feed(given[at : at + size])
    observer.finish()
    return observer


def stopped(given: int, put_out: int) -> Json:
    usage = {"input_tokens": given, "output_tokens": put_out}
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


MERGED: list[tuple[str, list[Any], Usage]] = [
    (
        "openai-chat",
        [chunk({"content": "x"}, "stop", usage={"prompt_tokens": 90, "completion_tokens": 9}),
         chunk(choices=[], usage={"completion_tokens": 9})],
        Usage(90, 9),
    ),
    (
        "openai-chat",
        [chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop",
                         "usage": {"prompt_tokens": 1019, "completion_tokens": 13}}])],
        Usage(1019, 13),
    ),
    (
        "openai-chat",
        [chunk({}, "stop", x_groq={"usage": {"prompt_tokens": 5, "completion_tokens": 6}})],
        Usage(5, 6),
    ),
    (
        "anthropic",
        [{"type": "message_start", "message": {"usage": {"input_tokens": 10, "cache_read_input_tokens": 100}}},
         stopped(10, 5),
         {"type": "message_stop"}],
        Usage(110, 5, cached=100),
    ),
    (
        "anthropic",
        [{"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}},
         stopped(10, 5),
         {"type": "message_stop"}],
        Usage(10, 5),
    ),
    (
        "anthropic",
        [{"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}},
         stopped(0, 5),
         {"type": "message_stop"}],
        Usage(10, 5),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "events", "wanted"), MERGED)
@pytest.mark.parametrize("size", [1, 64, 10**9])
def test_reports_of_a_stream_are_merged_by_field(wire: str, events: list[Any], wanted: Usage, size: int) -> None:
    observer = observed(wire, *events, size=size)
    assert observer.usage == wanted
    assert observer.counted_whole


IMAGE = "iVBORw0KGgo" + "A" * 3_000_000


@pytest.mark.parametrize("size", [4096, 65_536, 1_000_003, 10**9])
@pytest.mark.parametrize("spaces", [False, True])
def test_usage_in_a_very_large_event_is_read(size: int, spaces: bool) -> None:
    call = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": IMAGE}
    usage = {"input_tokens": 11, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 3}}
    response = {**WHOLE["responses"], "output": [call], "usage": usage}
    event = {"type": "response.completed", "response": response, "sequence_number": 9}
    data = json.dumps(event) if spaces else json.dumps(event, separators=(",", ":"))
    given = sse(*STREAM["responses"][:2]) + f"event: response.completed\ndata: {data}\n\n".encode()
    observer = StreamObserver("openai-responses", strip_usage=False)
    passed = b"".join(observer.feed(given[at : at + size]) for at in range(0, len(given), size)) + observer.finish()
    assert passed == given
    assert observer.usage == Usage(11, 7, cached=3)
    assert observer.ended
    assert observer.output_estimate < 5000


@pytest.mark.parametrize("size", [4096, 65_536])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_very_large_last_event_may_lack_its_blank_line(size: int, end: bytes) -> None:
    event = chunk(
        {"images": [{"image_url": {"url": "data:image/png;base64," + IMAGE}}]},
        "stop",
        usage={"prompt_tokens": 2, "completion_tokens": 3},
    )
    given = sse(event).rstrip() + end
    observer = StreamObserver("openai-chat", strip_usage=False)
    for at in range(0, len(given), size):
        observer.feed(given[at : at + size])
    observer.finish()
    assert observer.ended
    assert observer.usage == Usage(2, 3)


async def test_a_large_response_that_passes_through_is_counted_as_reported(relay: RelayClient, settings: Any) -> None:
    call = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": IMAGE}
    last = {"type": "response.completed", "response": {**WHOLE["responses"], "output": [call]}, "sequence_number": 9}
    async with scripted(settings, Reply(pieces=[sse(STREAM["responses"][0]), sse(last)], headers=SSE)):
        heard = await relay.post("/v1/responses", question("responses", "r:m", stream=True))
    assert heard.body.endswith(b"}\n\n")
    (entry,) = await ledger()
    assert (entry.input_tokens, entry.output_tokens, entry.kind) == (11, 7, "inference")


def written(wire: str, count: int) -> list[Any]:
    """Returns the beginning of a stream with `count` deltas."""
    if wire == "chat":
        return [chunk({"content": "word "}, usage={"prompt_tokens": 25, "completion_tokens": 1}) for _ in range(count)]
    if wire == "messages":
        start = {**STREAM["messages"][0]["message"], "usage": {"input_tokens": 25, "output_tokens": 1}}
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word "}}
        return [{"type": "message_start", "message": start}, STREAM["messages"][1], *[delta] * count]
    return [*STREAM["responses"][:3], *[{**STREAM["responses"][3], "delta": "word "}] * count]


@pytest.mark.parametrize(("client", "wire"), PAIRS)
async def test_a_stream_that_breaks_is_estimated_from_what_was_written(
    relay: RelayClient, settings: Any, client: str, wire: str
) -> None:
    pieces: list[bytes | None] = [sse(*written(wire, 50)), DROP]
    async with scripted(settings, Reply(pieces=pieces, headers=SSE)):
        await relay.post(PATHS[client], question(client, f"{WIRES[wire]}:m", stream=True))
    (entry,) = await ledger()
    assert (entry.kind, 40 <= entry.output_tokens < 200) == ("inference_estimate", True), entry.output_tokens
    assert wire == "responses" or entry.input_tokens == 25


@pytest.mark.parametrize(("client", "wire"), PAIRS)
async def test_so_it_is_when_the_client_leaves(relay: RelayClient, settings: Any, client: str, wire: str) -> None:
    gate = asyncio.Event()
    pieces = [sse(*written(wire, 50)), sse(*STREAM[wire][-1:])]
    async with scripted(settings, Reply(pieces=pieces, headers=SSE, gate=gate)):
        asked = question(client, f"{WIRES[wire]}:m", stream=True)
        async with relay.open_request(PATHS[client], asked) as heard:
            await heard.until(lambda: heard.body.count(b"word") >= 50)
        gate.set()
        (entry,) = await ledger()
    assert (entry.kind, 40 <= entry.output_tokens < 200) == ("inference_estimate", True), entry.output_tokens


async def test_a_client_that_leaves_after_the_usage_pays_what_was_reported(relay: RelayClient, settings: Any) -> None:
    gate = asyncio.Event()
    pieces = [sse(*STREAM["messages"][:-1]), sse(STREAM["messages"][-1])]
    async with scripted(settings, Reply(pieces=pieces, headers=SSE, gate=gate)):
        asked = question("messages", "a:m", stream=True)
        async with relay.open_request("/v1/messages", asked) as heard:
            await heard.until(lambda: b"message_delta" in heard.body)
        gate.set()
        (entry,) = await ledger()
    assert (entry.kind, entry.input_tokens, entry.output_tokens) == ("inference", 11, 7)


MEDIA = "QUJD" * 250_000
REQUESTS: list[tuple[str, Json]] = [
    ("chat", {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{MEDIA}"}}),
    ("chat", {"type": "input_audio", "input_audio": {"data": MEDIA, "format": "wav"}}),
    ("chat", {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{MEDIA}"}}),
    ("messages", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": MEDIA}}),
    ("messages", {"type": "image", "source": {"data": MEDIA, "type": "base64", "media_type": "image/png"}}),
    ("messages", {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": MEDIA}}),
    ("responses", {"type": "input_image", "image_url": f"data:image/png;base64,{MEDIA}"}),
]


def with_media(client: str, part: Json) -> Json:
    messages = [{"role": "user", "content": [part]}]
    return {"model": "hello", **({"input": messages} if client == "responses" else {"messages": messages})}


@pytest.mark.parametrize(("client", "part"), REQUESTS, ids=[f"{c} {p['type']}" for c, p in REQUESTS])
@pytest.mark.parametrize("spaces", [False, True])
def test_media_in_a_request_are_no_words(client: str, part: Json, spaces: bool) -> None:
    separators = (", ", ": ") if spaces else (",", ":")
    envelope = Envelope.open(json.dumps(with_media(client, part), separators=separators).encode())
    image = "image" in part["type"]
    assert (1600 <= envelope.input_estimate < 1800) if image else (16_000 <= envelope.input_estimate < 20_000)
    before = envelope.input_estimate
    envelope.forget_body()
    assert envelope.input_estimate == before


@pytest.mark.parametrize(
    "text", ["word " * 200_000, "data:image/png;base64," + "a word " * 100_000, "x;base64," * 100_000]
)
def test_text_is_text_even_if_it_speaks_of_media(text: str) -> None:
    raw = body({"model": "hello", "messages": [{"role": "user", "content": text}]})
    assert media_of(raw).bytes == 0


async def test_an_image_is_estimated_as_one_when_the_provider_reports_nothing(
    relay: RelayClient, settings: Any
) -> None:
    asked = {**with_media("chat", REQUESTS[0][1]), "model": "c:m"}
    silent = {name: value for name, value in WHOLE["chat"].items() if name != "usage"}
    for reply, stream in (
        (Reply(pieces=[body(silent)]), False),
        (Reply(pieces=[sse(chunk({"content": "x"})), DROP], headers=SSE), True),
    ):
        async with scripted(settings, reply):
            await relay.post("/v1/chat/completions", {**asked, "stream": stream})
    assert [(entry.kind, entry.input_tokens < 1800) for entry in await ledger()] == [("inference_estimate", True)] * 2


async def test_a_budget_holds_an_image_as_an_image(relay: RelayClient, settings: Any, owner: Caller) -> None:
    BUDGETS.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=1_000_000)])
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 1_500_000}}
    gate = asyncio.Event()
    try:
        async with scripted(
            settings, Reply(pieces=[sse(*STREAM["chat"][:1]), sse(*STREAM["chat"][1:])], headers=SSE, gate=gate)
        ):
            asked = {**with_media("chat", part), "model": "c:m", "stream": True}
            async with relay.open_request("/v1/chat/completions", asked) as heard:
                await heard.until(lambda: b"Hi" in heard.body)
                other = await relay.post("/v1/chat/completions", question("chat", "second:m"))
                assert other.status == 200
                gate.set()
                await heard.until(lambda: heard.ended)
    finally:
        BUDGETS.rules_replace([])


CLAUDE = "anthropic:claude-sonnet-4-5"
WRITTEN = [
    ({"input_tokens": 10, "cache_creation_input_tokens": 50_000, "output_tokens": 100}, "0.18903"),
    (
        {
            "input_tokens": 10,
            "cache_creation_input_tokens": 50_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 50_000},
            "output_tokens": 100,
        },
        "0.30153",
    ),
    ({"input_tokens": 10, "cache_read_input_tokens": 50_000, "output_tokens": 100}, "0.01653"),
]


@pytest.mark.parametrize(("usage", "wanted"), WRITTEN)
async def test_writing_a_cache_costs_more_than_reading_it(
    relay: RelayClient, settings: Any, usage: Json, wanted: str
) -> None:
    async with scripted(settings, Reply(pieces=[body({**WHOLE["messages"], "usage": usage})])):
        await relay.post("/v1/messages", question("messages", CLAUDE))
    (entry,) = await ledger()
    assert entry.cost_usd == Decimal(wanted)


async def test_the_configured_price_of_writing_a_cache_counts(relay: RelayClient, settings: Any) -> None:
    price = "{id: m, price: {input: 1, output: 0, cache_write: 3, cache_write_hour: 5}}"
    usage = {
        "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 100},
        "input_tokens": 10,
    }
    answer = body({**WHOLE["messages"], "usage": {**usage, "output_tokens": 0}})
    providers = f'priced: {{base_url: "URL", api_key: none, wire: anthropic, models: [{price}]}}'
    async with scripted(settings, Reply(pieces=[answer])) as provider:
        configure(
            settings, CONFIG.format(url=provider.url, providers=providers.replace("URL", provider.url), retries=0)
        )
        await relay.post("/v1/messages", question("messages", "priced:m"))
    (entry,) = await ledger()
    assert entry.cost_usd == Decimal(10 + 3000 + 500) / 1_000_000


async def test_counting_tokens_is_free(relay: RelayClient, settings: Any, owner: Caller) -> None:
    BUDGETS.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=10)])
    try:
        async with scripted(settings, Reply(pieces=[body({"input_tokens": 50_000})])):
            heard = await relay.post("/v1/messages/count_tokens", question("messages", CLAUDE))
    finally:
        BUDGETS.rules_replace([])
    assert heard.json == {"input_tokens": 50_000}
    assert await ledger() == []
