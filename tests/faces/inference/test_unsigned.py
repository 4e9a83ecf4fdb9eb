"""A conversation that began on another wire continues at Anthropic, which rejects thinking without a signature."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference_app.relay.envelope import Envelope
from inference_app.relay.reasoning_filter import without_unsigned_blocks
from tests.faces.inference.conftest import RelayClient

UNSIGNED: Any = {"type": "thinking", "thinking": "Hm.", "signature": ""}
SIGNED: Any = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
TEXT: Any = {"type": "text", "text": 'It said "signature": "" there.'}


def conversation(*contents: Any) -> dict[str, Any]:
    """Returns a conversation with these contents of the assistant."""
    messages = [{"role": "user", "content": "Hi"}, *({"role": "assistant", "content": content} for content in contents)]
    return {"model": "messages:hello", "max_tokens": 9, "messages": messages}


def left_of(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(without_unsigned_blocks(Envelope.open(json.dumps(body).encode())).raw)
    return found


def test_thoughts_without_a_signature_are_left_out_and_no_others() -> None:
    assert left_of(conversation([UNSIGNED, SIGNED, TEXT], "Said.", [UNSIGNED])) == conversation([SIGNED, TEXT], "Said.")


def test_what_stays_is_the_same_bytes() -> None:
    odd = b'{"role":"assistant","content":[%s,{"type" :"tool_use","input":{"n":1.50,"b":12345678901234567890123}}]}'
    raw = b'{"model":"m","x": 1e2,"messages":[' + odd % json.dumps(UNSIGNED).encode() + b"]}"
    left = without_unsigned_blocks(Envelope.open(raw)).raw
    assert b'{"type" :"tool_use","input":{"n":1.50,"b":12345678901234567890123}}' in left
    assert b'"x": 1e2' in left
    assert b"thinking" not in left


@pytest.mark.parametrize("messages", ['"no list"', "[5]", '[{"content":[5,{"type":1}]}]', "null"])
def test_what_is_no_conversation_is_left_to_the_provider(messages: str) -> None:
    raw = b'{"model":"m","messages":' + messages.encode() + b',"signature":""}'
    assert json.loads(without_unsigned_blocks(Envelope.open(raw)).raw) == json.loads(raw)


def test_a_request_without_such_thoughts_is_not_touched() -> None:
    envelope = Envelope.open(json.dumps(conversation([SIGNED, TEXT])).encode())
    assert without_unsigned_blocks(envelope) is envelope


async def test_the_provider_is_not_shown_them(relay: RelayClient) -> None:
    counts = []
    for content in ([UNSIGNED, TEXT], [TEXT]):
        heard = await relay.post(
            "/v1/messages/count_tokens", json.dumps(conversation(content), separators=(",", ":")).encode()
        )
        counts.append(heard.json["input_tokens"])
    assert counts[0] == counts[1]
