"""Errors of providers in every shape in use: what a client is told, and which candidate is asked next."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from inference_app.providers.provider_errors import parse_error
from tests.faces.inference.conftest import Heard, RelayClient, ledger
from tests.faces.inference.scripted import PATHS, SSE, STREAM, WIRES, Reply, body, chunk, question, scripted, sse

Json = dict[str, Any]
PAIRS = list(product(PATHS, WIRES))
RETRY_INFO = [
    {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.074s"},
]

REASON = "the reason"
SHAPES: dict[str, Any] = {
    "openai": {"error": {"message": REASON, "type": "invalid_request_error", "param": "n", "code": None}},
    "gemini": [{"error": {"code": 400, "message": REASON, "status": "INVALID_ARGUMENT"}}],
    "gemini object": {"error": {"code": 400, "message": REASON, "status": "INVALID_ARGUMENT"}},
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": REASON}, "request_id": "r"},
    "vllm": {"object": "error", "message": REASON, "type": "BadRequestError", "param": None, "code": 400},
    "mistral flat": {"object": "error", "message": REASON, "code": 400},
    "mistral detail": {"object": "error", "message": {"detail": [{"msg": REASON}]}},
    "fastapi text": {"detail": REASON},
    "fastapi list": {"detail": [{"loc": ["body"], "msg": REASON, "type": "missing"}]},
    "fastapi object": {"detail": {"error": {"message": REASON}}},
    "problem": {"type": "about:blank", "title": "Bad", "detail": REASON, "status": 400},
    "xai": {"code": "Client specified an invalid argument", "error": REASON},
    "ollama": {"error": REASON},
    "dashscope": {"code": "InvalidParameter", "message": REASON, "request_id": "r"},
    "cloudflare": {"success": False, "errors": [{"code": 7003, "message": REASON}]},
    "by field": {"errors": {"": [REASON]}},
    "minimax": {"base_resp": {"status_code": 2013, "status_msg": REASON}},
    "openrouter": {
        "error": {"message": "", "code": 400, "metadata": {"raw": json.dumps({"error": {"message": REASON}})}}
    },
    "flag": {"error": True, "message": REASON},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("client", "wire"), [("chat", "chat"), ("messages", "chat"), ("responses", "messages")])
async def test_a_refusal_keeps_its_message_in_every_shape(
    relay: RelayClient, settings: Any, client: str, wire: str, shape: str
) -> None:
    for stream in (False, True):
        async with scripted(settings, Reply(400, [body(SHAPES[shape])])) as provider:
            heard = await relay.post(PATHS[client], question(client, f"{WIRES[wire]}:m", stream=stream))
        error = heard.json["error"]
        assert (heard.status, len(provider.requests)) == (400, 1)
        assert REASON in error["message"]
        assert error["type"] in ("invalid_request_error", "BadRequestError")


async def test_a_short_text_is_its_own_message(relay: RelayClient, settings: Any) -> None:
    text = Reply(422, [b"Failed to deserialize the JSON body"], {"content-type": "text/plain"})
    page = Reply(422, [b"<html>SECRET</html>"], {"content-type": "text/html"})
    for reply, told in ((text, "Failed to deserialize the JSON body"), (page, "status 422")):
        async with scripted(settings, reply):
            heard = await relay.chat("c:m")
        assert heard.status == 422
        assert told in heard.json["error"]["message"]


OWN_FAULT: dict[str, Any] = {
    "chat": {"error": {"message": REASON, "type": "invalid_request_error", "code": "context_length_exceeded"}},
    "messages": {"type": "error", "error": {"type": "invalid_request_error", "message": REASON}},
    "responses": {"type": "error", "code": "context_length_exceeded", "message": REASON, "param": None},
}
PROVIDERS_FAULT: dict[str, Any] = {
    "chat": {"error": {"message": "SECRET", "type": "server_error", "code": "overloaded"}},
    "messages": {"type": "error", "error": {"type": "overloaded_error", "message": "SECRET"}},
    "responses": {"type": "error", "code": "server_error", "message": "SECRET", "param": None},
}
IN_STREAMS: list[Any] = [
    [{"error": {"code": 503, "message": "SECRET", "status": "UNAVAILABLE"}}],
    {"object": "error", "message": "SECRET", "code": 503},
    {"detail": "SECRET"},
    {"error": "SECRET", "error_type": "overloaded"},
    {"message": "SECRET", "code": "InternalError", "request_id": "r"},
]


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@pytest.mark.parametrize("status", [200, 400])
async def test_the_requests_own_fault_is_told_in_its_words_wherever_it_comes(
    relay: RelayClient, settings: Any, client: str, wire: str, status: int
) -> None:
    error = OWN_FAULT[wire]
    event = sse(error) if isinstance(error, dict) else b""
    replies = [Reply(status, [body(error)]), Reply(status, [body(error)])]
    if status == 200:
        replies.append(Reply(200, [event], SSE))
    for reply, stream in zip(replies, (False, True, True), strict=False):
        async with scripted(settings, reply) as provider:
            heard = await relay.post(PATHS[client], question(client, f"{WIRES[wire]}:m", stream=stream))
        assert (heard.status, heard.json["error"]["message"], len(provider.requests)) == (400, REASON, 1)


@pytest.mark.parametrize(("client", "wire"), PAIRS)
async def test_the_next_candidate_answers_for_an_error_before_the_first_byte(
    relay: RelayClient, settings: Any, client: str, wire: str
) -> None:
    error = PROVIDERS_FAULT[wire]
    for reply, stream in (
        (Reply(200, [body(error)]), False),
        (Reply(200, [body(error)]), True),
        (Reply(200, [b": wait\n\n", sse(error)], SSE), True),
        (Reply(529, [body(error)]), False),
    ):
        async with scripted(settings, reply):
            heard = await relay.post(PATHS[client], question(client, f"{WIRES[wire]}-first", stream=stream))
        assert (heard.status, heard.headers.get("x-gateway-provider")) == (200, "second"), heard.body
        assert b"SECRET" not in heard.body


@pytest.mark.parametrize("error", IN_STREAMS)
@pytest.mark.parametrize("client", PATHS)
@pytest.mark.parametrize("wire", ["chat", "messages"])
async def test_an_error_of_any_shape_is_no_answer(
    relay: RelayClient, settings: Any, client: str, wire: str, error: Any
) -> None:
    first = b"data: " + body(error) + b"\n\n"
    async with scripted(settings, Reply(200, [first], SSE)):
        heard = await relay.post(PATHS[client], question(client, f"{WIRES[wire]}-first", stream=True))
    assert heard.headers.get("x-gateway-provider") == "second"
    async with scripted(settings, Reply(200, [body(error)])):
        heard = await relay.post(PATHS[client], question(client, f"{WIRES[wire]}-first"))
    assert heard.headers.get("x-gateway-provider") == "second"
    later = [sse(*STREAM[wire][:3]) if wire == "messages" else sse(STREAM[wire][0]), first, sse(*STREAM[wire][3:])]
    async with scripted(settings, Reply(200, later, SSE)):
        heard = await relay.post(PATHS[client], question(client, f"{WIRES[wire]}:m", stream=True))
    assert b"SECRET" not in heard.body
    assert b"error" in heard.body


def error_event(heard: Heard) -> Json:
    last: Json = heard.events[-1]
    found: Json = last["response"]["error"] if "response" in last else last["error"]
    return found


@pytest.mark.parametrize(("client", "wire"), PAIRS)
async def test_overload_within_a_stream_is_told_as_overload(
    relay: RelayClient, settings: Any, client: str, wire: str
) -> None:
    error = {**PROVIDERS_FAULT["messages"]} if wire == "messages" else PROVIDERS_FAULT[wire]
    begun = 3 if wire == "messages" else 4 if wire == "responses" else 1
    async with scripted(settings, Reply(200, [sse(*STREAM[wire][:begun]), sse(error)], SSE)):
        heard = await relay.post(PATHS[client], question(client, f"{WIRES[wire]}:m", stream=True))
    told = error_event(heard)
    assert b"SECRET" not in heard.body
    if client == "messages":
        assert told["type"] == ("api_error" if wire == "responses" else "overloaded_error")
    elif client == "responses":
        assert told["code"] == "server_error"
    else:
        assert told["type"] == "server_error"


@pytest.mark.parametrize("client", PATHS)
async def test_overload_of_all_candidates_keeps_its_type(relay: RelayClient, settings: Any, client: str) -> None:
    async with scripted(settings, Reply(529, [body(PROVIDERS_FAULT["messages"])])):
        heard = await relay.post(PATHS[client], question(client, "a:m"))
    assert heard.status == 502
    assert heard.json["error"]["type"] == ("overloaded_error" if client == "messages" else "server_error")


WAITS: list[tuple[dict[str, str], Any, int, int]] = [
    ({"retry-after-ms": "1500"}, {}, 2, 1500),
    ({"retry-after-ms": "250", "retry-after": "30"}, {}, 1, 250),
    ({"retry-after": "30"}, {}, 30, 30_000),
    ({}, [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": RETRY_INFO}}], 35, 34_074),
    (
        {},
        {"error": {"code": 429, "message": "m", "details": [{"retryDelay": {"seconds": 7, "nanos": 500_000_000}}]}},
        8,
        7500,
    ),
    (
        {},
        {"error": {"message": "Rate limit reached. Please try again in 6.5s.", "code": "rate_limit_exceeded"}},
        7,
        6500,
    ),
    ({}, {"error": {"message": "Please try again in 120ms.", "code": "rate_limit_exceeded"}}, 1, 120),
]


@pytest.mark.parametrize(("headers", "error", "seconds", "milliseconds"), WAITS)
@pytest.mark.parametrize("client", PATHS)
async def test_a_rate_limit_of_all_candidates_is_told_with_its_delay(
    relay: RelayClient, settings: Any, client: str, headers: dict[str, str], error: Any, seconds: int, milliseconds: int
) -> None:
    async with scripted(settings, Reply(429, [body(error)], headers)) as provider:
        heard = await relay.post(PATHS[client], question(client, "c:m"))
    assert (heard.status, heard.headers["retry-after"]) == (429, str(seconds))
    assert heard.headers["retry-after-ms"] == str(milliseconds)
    assert heard.json["error"]["type"] == "rate_limit_error"
    assert heard.json["error"]["message"].startswith("c limits the rate of requests")
    assert len(provider.requests) == 1


async def test_of_several_rate_limits_the_longest_is_told(relay: RelayClient, settings: Any) -> None:
    replies = [Reply(429, [], {"retry-after": "50"}), Reply(500, [])]
    async with scripted(settings, *replies, providers='third: {base_url: "http://127.0.0.1:9/v1", api_key: none}'):
        heard = await relay.chat("c:m")
    assert (heard.status, heard.headers["retry-after"]) == (429, "50")


ACCOUNTS: list[tuple[int, Any, str]] = [
    (401, {"error": {"message": "SECRET", "code": "invalid_api_key"}}, "deepseek refused the key"),
    (400, [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}], "refused the key"),
    (400, {"code": "x", "error": "Incorrect API key provided: SECRET"}, "refused the key"),
    (403, {"error": {"message": "SECRET"}}, "refused access"),
    (402, {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}}, "at deepseek is spent"),
    (429, {"error": {"message": "SECRET", "code": "insufficient_quota"}}, "The account at deepseek is spent"),
    (400, {"type": "error", "error": {"message": "Your credit balance is too low"}}, "at deepseek is spent"),
    (200, {"error": {"message": "SECRET", "code": "invalid_api_key"}}, "deepseek refused the key"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error", "told"), ACCOUNTS)
@pytest.mark.parametrize("client", PATHS)
async def test_a_fault_of_the_account_names_the_provider_and_the_variable_of_its_key(
    relay: RelayClient,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    status: int,
    error: Any,
    told: str,
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-refused")
    async with scripted(settings, Reply(status, [body(error)]), retries=2) as provider:
        heard = await relay.post(PATHS[client], question(client, "deepseek:m"))
    message = heard.json["error"]["message"]
    assert (heard.status, len(provider.requests)) == (502, 1)
    assert told in message
    assert "DEEPSEEK_API_KEY" in message
    assert b"SECRET" not in heard.body


async def test_a_name_that_does_not_resolve_and_a_closed_port_name_the_setting(
    relay: RelayClient, settings: Any
) -> None:
    async with scripted(settings, Reply()):
        unresolved = await relay.chat("unresolved:m")
    assert (unresolved.status, unresolved.json["error"]["message"]) == (
        502,
        "unresolved: its host name does not resolve; check models.providers.unresolved.base_url.",
    )
    async with scripted(settings, Reply(), providers='shut: {base_url: "http://127.0.0.1:9/v1", api_key: none}'):
        closed = await relay.chat("shut:m")
    assert closed.status == 502
    assert "nothing listens at its address; check models.providers.shut.base_url" in closed.json["error"]["message"]


async def test_a_choice_that_is_an_error_is_no_answer(relay: RelayClient, settings: Any) -> None:
    choice = {"index": 0, "message": {"content": ""}, "error": {"code": 502, "message": "SECRET"}}
    async with scripted(settings, Reply(200, [body({"choices": [choice]})])):
        assert (await relay.chat("c-first")).headers["x-gateway-provider"] == "second"
    async with scripted(settings, Reply(200, [sse(chunk(choices=[{**choice, "delta": {}}]))], SSE)):
        assert (await relay.chat("c-first", stream=True)).headers["x-gateway-provider"] == "second"


@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_a_failed_response_is_told_once_and_bought_once(relay: RelayClient, settings: Any, client: str) -> None:
    error = {"code": "invalid_prompt", "message": REASON}
    failed = {"id": "resp_1", "object": "response", "status": "failed", "error": error, "output": []}
    event = {"type": "response.failed", "response": failed, "sequence_number": 0}
    for reply, stream in ((Reply(200, [body(failed)]), False), (Reply(200, [sse(event)], SSE), True)):
        async with scripted(settings, reply, retries=2) as provider:
            heard = await relay.post(PATHS[client], question(client, "r:m", stream=stream))
        assert (heard.status, heard.json["error"]["message"], len(provider.requests)) == (400, REASON, 1)
    assert await ledger() == []


async def test_a_key_in_an_error_is_told_to_nobody(
    relay: RelayClient, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-in-the-error")
    error = {"error": {"message": "sk-in-the-error is refused", "type": "invalid_request_error"}}
    for reply in (
        Reply(400, [body(error)]),
        Reply(200, [body(error)]),
        Reply(200, [sse(chunk({"content": "x"})), sse(error)], SSE),
    ):
        async with scripted(settings, reply):
            heard = await relay.chat("deepseek:m", stream=True)
        assert b"is refused" in heard.body
        assert b"sk-in-the-error" not in heard.body


@pytest.mark.parametrize(
    "junk",
    [b"", b"null", b"[]", b"{}", b'"x"', b"12", b"[" * 5000, b'{"error":' * 500 + b"1" + b"}" * 500, b"\xff\xfe"],
)
def test_anything_may_be_read_as_an_error(junk: bytes) -> None:
    found = parse_error(junk)
    assert found is None or found.status is None
