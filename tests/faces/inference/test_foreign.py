"""A conversation that began on another wire continues at a provider of the Responses API, which accepts only its own
reasoning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core_app.ids import new_id
from inference_app.relay.envelope import Envelope
from inference_app.relay.reasoning_filter import without_foreign_reasoning

SUMMARY = [{"type": "summary_text", "text": "Hm."}]
MADE_HERE: Any = {"type": "reasoning", "id": new_id("rs"), "summary": SUMMARY, "status": "completed"}
OWN: Any = {"type": "reasoning", "id": "rs_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b", "summary": []}
SEALED: Any = {**MADE_HERE, "encrypted_content": "gAAAAABo"}
SAID: Any = {"type": "message", "role": "assistant", "content": f"It has the id {MADE_HERE['id']}."}


def left_of(*items: Any) -> Any:
    raw = json.dumps({"model": "m", "input": items}).encode()
    return json.loads(without_foreign_reasoning(Envelope.open(raw), "openai-responses").raw)["input"]


def test_thoughts_that_a_converter_made_are_left_out_and_no_others() -> None:
    reference = {"type": "item_reference", "id": MADE_HERE["id"]}
    bare = {"id": MADE_HERE["id"]}
    given = (SAID, MADE_HERE, reference, bare, {**MADE_HERE, "encrypted_content": None}, OWN, SEALED, "odd", 5)
    assert left_of(*given) == [SAID, OWN, SEALED, "odd", 5]


NO_LISTS = {"text": f'"{MADE_HERE["id"]}"', "null": "null", "number": "5", "object": f'{{"id":"{MADE_HERE["id"]}"}}'}


@pytest.mark.parametrize("given", NO_LISTS.values(), ids=NO_LISTS)
def test_what_is_no_list_of_items_is_left_to_the_provider(given: str) -> None:
    envelope = Envelope.open(b'{"model":"m","input":%b}' % given.encode())
    assert without_foreign_reasoning(envelope, "openai-responses") is envelope


def test_what_stays_is_the_same_bytes() -> None:
    odd = b'{"type" :"message","n":1.50,"b":12345678901234567890123}'
    raw = b'{"model":"m","x": 1e2,"input":[%b,%b]}' % (odd, json.dumps(MADE_HERE).encode())
    left = without_foreign_reasoning(Envelope.open(raw), "openai-responses").raw
    assert b'"input":[%b]' % odd in left
    assert b'"x": 1e2' in left


def test_a_request_without_such_thoughts_is_not_touched() -> None:
    envelope = Envelope.open(json.dumps({"model": "m", "input": [OWN, SAID]}).encode())
    assert without_foreign_reasoning(envelope, "openai-responses") is envelope
    assert without_foreign_reasoning(envelope, "openai-chat") is envelope
