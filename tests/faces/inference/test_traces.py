"""The relay: a span for the request, and one below it for each attempt at a provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.agents.conftest import Upstream
from tests.faces.inference.conftest import RelayClient
from tests.gateway_harness import GatewayHarness
from tests.tracing.tree import Spans, attributes, spans_gathered, trace_of

pytestmark = pytest.mark.django_db(transaction=True)

CHAT = "POST /v1/chat/completions"


@pytest.fixture(autouse=True)
def spans(settings: Any) -> Iterator[Spans]:
    """What is exported, from the gateway's start on."""
    with spans_gathered(settings) as gathered:
        yield gathered


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_has_the_attempts_model_and_tokens(relay: RelayClient, spans: Spans, stream: bool) -> None:
    assert (await relay.chat("scripted:hello", stream=stream)).status == 200
    [request] = await spans.came("POST")
    assert spans.tree(trace_of(request)) == {CHAT: {"chat hello": {}}}
    told = attributes(spans.with_name("chat")[0])
    assert {name: told[name] for name in told if name.startswith("gen_ai")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "hello",
        "gen_ai.request.stream": stream,
        "gen_ai.response.model": "hello",
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
    }


@pytest.mark.parametrize(
    ("model", "failed"),
    [("resilient", "error_500"), ("unreachable-first", "connection_failed"), ("garbage-first", "invalid_answer")],
)
async def test_each_attempt_that_failed_is_a_span_with_its_code(
    relay: RelayClient, spans: Spans, model: str, failed: str
) -> None:
    assert (await relay.chat(model)).status == 200
    await spans.came("POST")
    *attempts, last = (attributes(attempt) for attempt in spans.with_name("chat"))
    assert {attempt.get("error.type") for attempt in attempts} == {failed}
    assert "error.type" not in last
    assert [attempt["gateway.attempt"] for attempt in (*attempts, last)] == list(range(1, len(attempts) + 2))


async def test_a_client_that_leaves_ends_its_attempt(relay: RelayClient, spans: Spans) -> None:
    body = {"model": "scripted:hang:1", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    async with relay.asking("/v1/chat/completions", body) as heard:
        await heard.until(lambda: heard.chunks)
    [attempt] = await spans.came("chat")
    assert attributes(attempt)["error.type"] == "left"


@pytest.mark.parametrize(("hosts", "told"), [([], False), (["127.0.0.1"], True)])
async def test_a_provider_is_told_of_the_trace_only_where_it_is_said(
    relay: RelayClient,
    upstream: Upstream,
    spans: Spans,
    settings: Any,
    gateway: GatewayHarness,
    hosts: list[str],
    told: bool,
) -> None:
    settings.GATEWAY_OTEL_PROPAGATE = hosts
    await gateway.restart()
    assert (await relay.chat("scripted:hello")).status == 200
    [attempt] = await spans.came("chat")
    assert attempt.context is not None
    expected = f"00-{trace_of(attempt):032x}-{attempt.context.span_id:016x}-03"
    assert upstream.requests()[0].get("__traceparent") == (expected if told else None)
