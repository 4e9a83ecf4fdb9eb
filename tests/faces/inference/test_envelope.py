"""A request's body is parsed no further than routing needs, and nothing else in it changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core_app.errors import BadRequest
from inference_app.relay.envelope import Envelope
from tests.agents.conftest import Upstream
from tests.faces.inference.conftest import RelayClient

HALVES = {
    rb"\ud83d": "\ufffd",
    rb"\uDE00 later": "\ufffd later",
    rb"\ud83d\ud83d\ude00": "\ufffd\U0001f600",
    rb"\ude00\ud83d": "\ufffd\ufffd",
    rb"\\ud83d \ud83d": "\\ud83d \ufffd",
    rb"\\\ud83d": "\\\ufffd",
}


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
    raw = rb'{ "model":"m",  "text":"\u00e9 \ud83d\ude00 \"model\"", "n":1e2 }'
    assert Envelope.open(raw).body_for("m") is raw


@pytest.mark.parametrize(
    "raw", [rb'{"model":"\ud8"}', rb'{"model":"m","x":\ud800}', b'{"model":"m","x":"\\', b"\xff\xfe"]
)
def test_what_is_no_json_is_still_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        Envelope.open(raw)
