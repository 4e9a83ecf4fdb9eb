"""Providers that fail, hang, disconnect, send garbage, limit or redirect: the response and the state of the circuit."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.stats import STATS
from tests.agents.conftest import Upstream
from tests.conftest import Caller
from tests.faces.inference.conftest import Heard, RelayClient, ledger
from tests.gateway_harness import eventually


def error_of(heard: Heard) -> tuple[int | None, str]:
    return heard.status, heard.json["error"]["code"]


def state_of(name: str) -> str:
    provider, _, model = name.partition(":")
    return CIRCUITS.state(Candidate(provider, model))


FIRSTS = ["resilient", "unreachable-first", "limited-first", "dropping-first", "garbage-first"]


@pytest.mark.parametrize(("model", "stream"), [*product(FIRSTS, (False, True)), ("hanging-first", True)])
async def test_the_next_candidate_answers_for_one_that_gives_nothing(
    relay: RelayClient, model: str, stream: bool
) -> None:
    heard = await relay.chat(model, stream=stream)
    assert heard.status == 200, heard.body
    assert heard.headers["x-gateway-provider"] == "second"
    assert int(heard.headers["x-gateway-attempts"]) > 1
    assert (heard.text if stream else heard.json["choices"][0]["message"]["content"]) == "Hello, world."


async def test_a_failing_candidate_is_tried_again_before_it_is_given_up(relay: RelayClient) -> None:
    heard = await relay.chat("scripted:flaky:503:1")
    assert (heard.status, heard.headers["x-gateway-attempts"]) == (200, "2")


async def test_when_all_fail_the_caller_is_told_whose_code_and_nothing_of_the_body(relay: RelayClient) -> None:
    heard = await relay.chat("scripted:status:500")
    assert error_of(heard) == (502, "PROVIDER_ERROR")
    assert heard.json["error"]["message"] == "scripted: error_500"
    assert b"SECRET" not in heard.body


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_callers_mistake_is_handed_on_with_its_message_and_opens_no_circuit(
    relay: RelayClient, upstream: Upstream, status: int
) -> None:
    for _ in range(5):
        heard = await relay.chat(f"scripted:status:{status}")
        assert heard.status == status
        assert heard.json["error"]["message"] == f"SECRET body of {status}"
    assert len(upstream.requests()) == 5
    assert state_of(f"scripted:status:{status}") == "CLOSED"


@pytest.mark.parametrize("status", [401, 403, 402, 501, 505])
async def test_what_will_not_change_is_asked_once(relay: RelayClient, upstream: Upstream, status: int) -> None:
    assert error_of(await relay.chat(f"scripted:status:{status}")) == (502, "PROVIDER_ERROR")
    assert len(upstream.requests()) == 1


async def test_a_circuit_opens_after_three_failed_calls_and_its_candidate_is_left_alone(
    relay: RelayClient, upstream: Upstream
) -> None:
    for _ in range(2):
        await relay.chat("scripted:status:500")
    # Four tries are two calls.
    assert state_of("scripted:status:500") == "CLOSED"
    await relay.chat("scripted:status:500")
    assert state_of("scripted:status:500") == "OPEN"
    asked = len(upstream.requests())
    heard = await relay.chat("scripted:status:500")
    assert error_of(heard) == (503, "NO_PROVIDER")
    assert int(heard.headers["retry-after"]) >= 1
    assert len(upstream.requests()) == asked == 6


async def test_an_open_circuit_sends_requests_to_the_next_candidate_at_once(relay: RelayClient) -> None:
    for _ in range(3):
        await relay.chat("resilient")
    heard = await relay.chat("resilient")
    assert (heard.status, heard.headers["x-gateway-attempts"]) == (200, "1")


async def test_the_prompts_of_one_tenant_that_break_a_provider_cost_no_other_tenant_an_answer(
    relay: RelayClient, stranger: Caller
) -> None:
    other, refused = RelayClient(stranger), 0
    poison = [{"role": "user", "content": "poison"}]
    for _ in range(12):
        body = {"model": "scripted:poison", "messages": poison}
        refused += (await relay.post("/v1/chat/completions", body)).status == 503
        assert (await other.chat("scripted:poison")).status == 200
    assert refused == 9


async def test_a_429_of_one_tenant_cools_no_other_tenants_calls(
    relay: RelayClient, upstream: Upstream, stranger: Caller
) -> None:
    await relay.chat("scripted:limited:60")
    asked = len(upstream.requests())
    await RelayClient(stranger).chat("scripted:limited:60")
    assert len(upstream.requests()) == asked + 1
    assert error_of(await relay.chat("scripted:limited:60")) == (503, "NO_PROVIDER")


async def test_a_provider_that_nobody_can_connect_to_is_left_alone_by_all(relay: RelayClient, stranger: Caller) -> None:
    for _ in range(3):
        assert (await relay.chat("closed:hello")).status == 502
    refused = await RelayClient(stranger).chat("closed:hello")
    assert (refused.status, int(refused.headers["retry-after"]) >= 1) == (503, True)


async def test_a_429_cools_its_candidate_without_opening_the_circuit(relay: RelayClient, upstream: Upstream) -> None:
    heard = await relay.chat("scripted:limited:60")
    assert error_of(heard) == (429, "rate_limit_exceeded")
    assert heard.headers["retry-after"] == "60"
    assert state_of("scripted:limited:60") == "CLOSED"
    again = await relay.chat("scripted:limited:60")
    assert (error_of(again), len(upstream.requests())) == ((503, "NO_PROVIDER"), 1)
    assert 0 < int(again.headers["retry-after"]) <= 60


async def test_a_429_that_soon_ends_is_waited_for(relay: RelayClient) -> None:
    heard = await relay.chat("scripted:flaky:429:1")
    assert (heard.status, heard.headers["x-gateway-attempts"]) == (200, "2")


async def test_nothing_is_asked_again_after_the_first_byte(relay: RelayClient, upstream: Upstream) -> None:
    heard = await relay.chat("scripted:drop:2", stream=True)
    assert heard.status == 200
    assert heard.text == "piece0 piece1 "
    assert heard.events[-1]["error"]["code"] == "PROVIDER_ERROR"
    assert len(upstream.requests()) == 1
    assert b"[DONE]" not in heard.body


@pytest.mark.parametrize("model", ["scripted:cut", "scripted:in-stream-error", "scripted:torn", "hasty:hang:1"])
async def test_a_stream_that_does_not_end_well_ends_in_an_error_that_can_be_read(
    relay: RelayClient, model: str
) -> None:
    heard = await relay.chat(model, stream=True)
    assert heard.events[-1]["error"]["message"].startswith(model.partition(":")[0])
    assert b"SECRET" not in heard.body
    (entry,) = await ledger()
    assert (entry.kind, entry.output_tokens > 0) == ("inference_estimate", True)


async def test_streams_that_break_open_the_circuit(relay: RelayClient) -> None:
    for _ in range(3):
        await relay.chat("scripted:drop:1", stream=True)
    assert state_of("scripted:drop:1") == "OPEN"


async def test_an_error_as_first_event_is_a_failed_attempt(relay: RelayClient) -> None:
    heard = await relay.chat("scripted:early-error", stream=True)
    assert error_of(heard) == (502, "PROVIDER_ERROR")
    assert heard.json["error"]["message"] == "scripted: overloaded"


async def test_a_redirect_is_not_followed(relay: RelayClient, upstream: Upstream) -> None:
    heard = await relay.chat(f"scripted:redirect:http://127.0.0.1:{upstream.port}/v1/models")
    assert error_of(heard) == (502, "PROVIDER_ERROR")
    assert heard.json["error"]["message"] == "scripted: 307"


async def test_a_stream_in_single_bytes_arrives_as_it_was(relay: RelayClient) -> None:
    heard = await relay.chat("scripted:shredded", stream=True)
    assert heard.text == "Grüße \\n\\n"
    assert heard.body.endswith(b"data: [DONE]\n\n")
    assert b"usage" not in heard.body
    (entry,) = await ledger()
    assert (entry.kind, entry.input_tokens) == ("inference", 11)


async def test_usage_that_nobody_understands_is_estimated(relay: RelayClient) -> None:
    heard = await relay.chat("scripted:odd-usage")
    assert heard.status == 200
    (entry,) = await ledger()
    assert entry.kind == "inference_estimate"


async def test_a_client_that_leaves_ends_the_providers_stream_and_pays_for_what_was_made(
    relay: RelayClient, upstream: Upstream
) -> None:
    body: dict[str, Any] = {"model": "scripted:slow:5", "messages": [{"role": "user", "content": "x"}], "stream": True}
    async with relay.open_request("/v1/chat/completions", body) as heard:
        await heard.until(lambda: len(heard.chunks) > 3)
        assert upstream.open_streams() == 1
    await eventually(lambda: upstream.open_streams() == 0)
    (entry,) = await ledger()
    assert (entry.kind, entry.output_tokens > 3) == ("inference_estimate", True)
    assert state_of("scripted:slow:5") == "CLOSED"


async def test_a_client_that_leaves_before_the_first_byte_ends_the_call(relay: RelayClient, upstream: Upstream) -> None:
    body: dict[str, Any] = {"model": "scripted:hang:0", "messages": [], "stream": True}
    async with relay.open_request("/v1/chat/completions", body):
        await eventually(lambda: upstream.open_streams() == 1)
    await eventually(lambda: upstream.open_streams() == 0)


async def test_an_unknown_model_is_not_found_and_one_without_a_key_has_no_provider(relay: RelayClient) -> None:
    assert error_of(await relay.chat("nobody-has-this")) == (404, "model_not_found")
    assert error_of(await relay.chat("locked")) == (503, "NO_PROVIDER")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"messages": []}', b'{"model": 5}', b'{"model": "hello", "stream": "yes"}']
)
async def test_a_body_that_is_no_request_is_refused_in_the_dialect(relay: RelayClient, body: bytes) -> None:
    for path, kind in (("/v1/chat/completions", None), ("/v1/messages", "error")):
        heard = await relay.post(path, body)
        assert heard.status == 400
        assert heard.json.get("type") == kind
        assert heard.json["error"]["type"] == "invalid_request_error"


async def test_a_model_named_with_line_breaks_injects_no_header(relay: RelayClient) -> None:
    heard = await relay.chat("scripted:echo\r\nx-evil: 1", stream=True)
    assert "x-evil" not in heard.headers


async def test_statistics_tell_calls_from_attempts(relay: RelayClient) -> None:
    await relay.chat("resilient")
    providers = STATS.to_wire()["providers"]
    assert (providers["second"]["requests"], providers["scripted"]["failed_attempts"]) == (1, 2)
