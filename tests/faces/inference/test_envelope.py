"""A request's body is parsed no further than routing needs, and nothing else in it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core_app.errors import BadRequest
from inference_app.relay.envelope import Envelope
from inference_app.relay.large_bodies import AT_ONCE_BYTES
from inference_app.spend.budgets import BUDGETS, BudgetRule
from tests.agents.conftest import Upstream
from tests.conftest import Caller
from tests.faces.inference.conftest import RelayClient

HALVES = {
    rb"\ud83d": "\ufffd",
    rb"\uDE00 later": "\ufffd later",
    rb"\ud83d\ud83d\ude00": "\ufffd\U0001f600",
    rb"\ude00\ud83d": "\ufffd\ufffd",
    rb"\\ud83d \ud83d": "\\ud83d \ufffd",
    rb"\\\ud83d": "\\\ufffd",
}


@pytest.fixture(autouse=True)
def _no_budgets() -> Iterator[None]:
    yield
    BUDGETS.rules_replace([])


@pytest.mark.parametrize(("written", "read"), HALVES.items())
def test_half_a_character_is_replaced_and_nothing_else(written: bytes, read: str) -> None:
    envelope = Envelope.open(b'{"model":"m", "x": 1.0,"input":"' + written + b'"}')
    assert json.loads(envelope.body_for("m")) == {"model": "m", "x": 1.0, "input": read}
    assert b'"x": 1.0' in envelope.raw


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a_client_that_cut_a_character_in_two_is_answered(
    relay: RelayClient, upstream: Upstream, path: str
) -> None:
    said = rb'[{"role":"user","content":"a \ud83d cut"}]'
    body = b'{"model":"second:hello","max_tokens":9,"messages":' + said + b',"input":' + said + b"}"
    assert (await relay.post(path, body)).status == 200
    assert "a \ufffd cut" in json.dumps(upstream.requests()[0], ensure_ascii=False)


@pytest.mark.parametrize("first", [b'"model"', rb'"mod\u0065l"'])
def test_the_provider_sees_the_model_that_was_looked_at_and_no_other(first: bytes) -> None:
    directed = Envelope.open(b"{" + first + b':"dear", "model":"cheap", "seed":1.50}').body_for("cheap")
    pairs: Any = json.loads(directed, object_pairs_hook=list)
    assert pairs == [("model", "cheap"), ("seed", 1.5)]
    assert b"1.50" in directed


def test_a_body_in_which_nothing_has_to_change_is_the_same_bytes() -> None:
    raw = rb'{ "model":"m",  "text":"\u00e9 \ud83d\ude00 \"model\"", "seed":1e2 }'
    assert Envelope.open(raw).body_for("m") is raw


def test_a_change_is_spliced_into_the_clients_bytes() -> None:
    raw = b'{ "x" : [1.0,\t"\\u00e9"],\n "model":"dear" ,"stream" : true, "seed":1e2 }\n'
    changed = Envelope.open(raw).body_for("cheap", include_usage=True)
    expected = raw.replace(b'"dear" ', b'"cheap"').replace(b"1e2 }", b'1e2 ,"stream_options":{"include_usage":true}}')
    assert changed == expected


@pytest.mark.parametrize("padding", ["", "x" * AT_ONCE_BYTES])
@pytest.mark.parametrize("name", ["stream", "max_tokens", "stream_options", "messages"])
def test_of_a_governed_field_that_comes_twice_the_provider_gets_the_one_that_was_read(name: str, padding: str) -> None:
    escaped = name.replace("s", "\\u0073")
    last = {"stream": "false", "max_tokens": "7"}.get(name, "[]")
    raw = f'{{"model":"m","{name}":null,"a":0,"{name}":true,"{escaped}":{last},"b":"{padding}"}}'
    pairs: Any = json.loads(Envelope.open(raw.encode()).body_for("m"), object_pairs_hook=list)
    assert pairs == [("model", "m"), ("a", 0), (name, json.loads(last)), ("b", padding)]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("value", [1, 0.0, "true"])
async def test_a_switch_that_a_provider_may_read_otherwise_is_refused(
    relay: RelayClient, upstream: Upstream, path: str, value: Any
) -> None:
    answer = await relay.post(path, _asked("stream", value))
    assert (answer.status, "stream" in json.dumps(answer.json)) == (400, True)
    assert upstream.requests() == []


LIMITS = [
    ("max_tokens", "9"), ("max_tokens", 9.0), ("max_completion_tokens", -1), ("max_completion_tokens", [9]),
    ("max_output_tokens", True), ("n", "9"), ("n", 9.0),
]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize(("field", "value"), LIMITS)
async def test_a_limit_that_cannot_be_reserved_is_refused_where_a_budget_counts(
    relay: RelayClient, owner: Caller, upstream: Upstream, path: str, field: str, value: Any
) -> None:
    BUDGETS.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=10_000)])
    answer = await relay.post(path, _asked(field, value))
    assert (answer.status, field in json.dumps(answer.json)) == (400, True)
    assert upstream.requests() == []


@pytest.mark.parametrize(("field", "value"), LIMITS)
async def test_without_a_budget_the_provider_decides_about_a_limit(
    relay: RelayClient, upstream: Upstream, field: str, value: Any
) -> None:
    assert (await relay.post("/v1/chat/completions", _asked(field, value))).status == 200
    assert upstream.requests()[-1][field] == value


def _asked(field: str, value: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": "Hi"}]
    return {"model": "second:hello", "max_tokens": 1, "messages": said, "input": said, field: value}


@pytest.mark.parametrize("padding", [b"", b"x" * AT_ONCE_BYTES])
@pytest.mark.parametrize("name", ["Model", "STREAM", "Max_Tokens", "\\u004dodel"])
async def test_a_second_spelling_of_a_field_never_reaches_a_provider(
    relay: RelayClient, upstream: Upstream, name: str, padding: bytes
) -> None:
    body = b'{"model":"hello","messages":[],"%b":true,"x":"%b"}' % (name.encode(), padding)
    refused = await relay.post("/v1/chat/completions", body)
    assert (refused.status, refused.json["error"]["param"]) == (400, json.loads(f'"{name}"'))
    assert upstream.requests() == []


def test_a_value_that_the_gateway_reads_is_short() -> None:
    with pytest.raises(BadRequest) as refused:
        Envelope.open(b'{"model":"%b"}' % (b"m" * AT_ONCE_BYTES))
    assert refused.value.field == "model"


@pytest.mark.parametrize(
    "raw", [rb'{"model":"\ud8"}', rb'{"model":"m","x":\ud800}', b'{"model":"m","x":"\\', b"\xff\xfe"]
)
def test_what_is_no_json_is_still_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        Envelope.open(raw)
