"""Fields that need a state, or that the API requires: the error is the one on which official clients act."""

from __future__ import annotations

from typing import Any

import pytest

from tests.agents.conftest import Upstream
from tests.faces.inference.conftest import RelayClient

SAID = [{"role": "user", "content": "what is my name?"}]
THREAD = {"type": "continue", "previous_message_id": "msg_x"}


@pytest.mark.parametrize("model", ["second:hello", "messages:hello"])
@pytest.mark.parametrize("thread", [THREAD, {"type": "create"}])
async def test_a_thread_is_not_counted_so_that_clients_send_the_conversation(
    relay: RelayClient, upstream: Upstream, model: str, thread: Any
) -> None:
    body = {"model": model, "max_tokens": 50, "messages": SAID, "thread": thread}
    heard = await relay.post("/v1/messages/count_tokens", body)
    assert heard.status == 400
    assert heard.json["error"]["type"] == "invalid_request_error"
    expected = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert heard.json["error"]["details"] == expected
    assert upstream.requests() == []


@pytest.mark.parametrize("container", ["container_1", {"skills": []}])
async def test_a_container_is_refused(relay: RelayClient, container: Any) -> None:
    body = {"model": "second:hello", "max_tokens": 50, "messages": SAID, "container": container}
    heard = await relay.post("/v1/messages", body)
    assert (heard.status, "container" in heard.json["error"]["message"]) == (400, True)


@pytest.mark.parametrize("model", ["second:hello", "messages:hello"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": SAID}, "max_tokens"),
        ({"messages": SAID, "max_tokens": None}, "max_tokens"),
        ({"messages": SAID, "max_tokens": "9"}, "max_tokens"),
        ({"messages": [], "max_tokens": 9}, "messages"),
        ({"messages": None, "max_tokens": 9}, "messages"),
        ({"max_tokens": 9}, "messages"),
    ],
)
async def test_what_anthropic_requires_is_required(relay: RelayClient, model: str, body: Any, field: str) -> None:
    heard = await relay.post("/v1/messages", {"model": model, **body})
    assert (heard.status, field in heard.json["error"]["message"]) == (400, True)


@pytest.mark.parametrize("body", [{}, {"input": None}])
async def test_the_responses_api_requires_an_input(relay: RelayClient, body: Any) -> None:
    heard = await relay.post("/v1/responses", {"model": "second:hello", **body})
    assert (heard.status, heard.json["error"]["param"]) == (400, "input")


async def test_dropped_fields_are_named_in_a_header(relay: RelayClient) -> None:
    heard = await relay.chat("messages:hello", n=2, seed=5)
    assert (heard.status, heard.headers["x-gateway-dropped"]) == (200, "n, seed")


async def test_embeddings_that_nobody_can_make_are_not_found(relay: RelayClient) -> None:
    heard = await relay.post("/v1/embeddings", {"model": "messages:hello", "input": "x"})
    assert (heard.status, heard.json["error"]["code"]) == (404, "model_not_found")


async def test_a_model_of_anthropics_list_has_its_lifecycle(relay: RelayClient) -> None:
    heard = await relay.get("/v1/models", anthropic_version="2023-06-01")
    assert {model["lifecycle"] for model in heard.json["data"]} == {"active"}


async def test_an_answer_has_the_keys_of_anthropics(relay: RelayClient) -> None:
    heard = await relay.post("/v1/messages", {"model": "second:hello", "max_tokens": 50, "messages": SAID})
    assert {"container", "stop_details"} <= set(heard.json)
    assert "citations" in heard.json["content"][0]
    nullable = {"cache_creation", "inference_geo", "output_tokens_details", "server_tool_use", "service_tier"}
    assert nullable <= set(heard.json["usage"])
