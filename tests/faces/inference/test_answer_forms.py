"""A stream where a complete response was asked for, and the reverse: used as what it is, and bought once."""

from __future__ import annotations

import json
from importlib import import_module
from itertools import product
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI

from inference_app.catalogue.config import Wire
from inference_app.relay.answer_forms import answer_from_events, events_from_answer
from tests.faces.inference.conftest import Heard, RelayClient, ledger
from tests.faces.inference.scripted import PATHS, SSE, STREAM, WHOLE, WIRES, Reply, body, chunk, question, scripted, sse

Json = dict[str, Any]
PAIRS = list(product(PATHS, WIRES))
WIRE_NAMES: dict[str, Wire] = {"chat": "openai-chat", "responses": "openai-responses", "messages": "anthropic"}

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"n":18446744073709551615}'}}
RICH: dict[str, Json] = {
    "chat": {
        **WHOLE["chat"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "reasoning": "hm", "tool_calls": [CALL, CALL]},
                "logprobs": {"content": [{"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []}]},
                "finish_reason": "tool_calls",
            },
            {"index": 1, "message": {"role": "assistant", "content": "Ho"}, "finish_reason": "length"},
        ],
    },
    "messages": {
        **WHOLE["messages"],
        "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "S"},
            {"type": "redacted_thinking", "data": "R"},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 18446744073709551615}},
            {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
        ],
    },
    "responses": {
        **WHOLE["responses"],
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            *WHOLE["responses"]["output"],
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}',
             "status": "completed"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ],
    },
}  # fmt: skip


def text_of(heard: Heard) -> str:
    return heard.body.decode()


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_other_form_is_used_and_bought_once(
    relay: RelayClient, settings: Any, client: str, wire: str, stream: bool
) -> None:
    sent = Reply(pieces=[body(WHOLE[wire])]) if stream else Reply(pieces=[sse(*STREAM[wire])], headers=SSE)
    async with scripted(settings, sent, retries=2) as provider:
        heard = await relay.post(PATHS[client], question(client, f"{WIRES[wire]}:m", stream=stream))
    assert (heard.status, len(provider.requests)) == (200, 1), heard.body
    assert heard.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    if stream:
        assert "error" not in heard.events[-1]
    assert "Hi" in text_of(heard)
    (entry,) = await ledger()
    assert (entry.kind, entry.input_tokens, entry.output_tokens) == ("inference", 11, 7)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_cut_stream_is_no_complete_response(relay: RelayClient, settings: Any, wire: str) -> None:
    async with scripted(settings, Reply(pieces=[sse(*STREAM[wire][:-2])], headers=SSE)):
        heard = await relay.post(PATHS[wire], question(wire, f"{WIRES[wire]}:m"))
    expected = 200 if wire == "chat" else 502
    assert heard.status == expected


async def test_a_stream_without_its_content_type_or_first_line_is_a_stream(relay: RelayClient, settings: Any) -> None:
    pieces = [b"\n", b": hello\n\n", sse(*STREAM["chat"])]
    async with scripted(settings, Reply(pieces=pieces)):
        heard = await relay.chat("c:m")
    assert heard.json["choices"][0]["message"]["content"] == "Hi"


@pytest.mark.parametrize("wire", WIRES)
def test_both_ways_together_change_nothing(wire: str) -> None:
    for answer in (WHOLE[wire], RICH[wire]):
        events = events_from_answer(body(answer), WIRE_NAMES[wire])
        assert json.loads(answer_from_events(events, WIRE_NAMES[wire])) == answer


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), max_size=8), st.integers(1, 60))
def test_pieces_of_text_are_put_together(pieces: list[str], number: int) -> None:
    calls = [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}},
        *({"index": 0, "function": {"arguments": piece}} for piece in pieces),
    ]
    chunks = [chunk({"content": piece}) for piece in pieces] + [chunk({"tool_calls": [call]}) for call in calls]
    folded = json.loads(answer_from_events(sse(*chunks, chunk({}, "tool_calls")), "openai-chat"))
    message = folded["choices"][0]["message"]
    assert message["content"] == ("".join(pieces) or None)
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "".join(pieces)}


@pytest.mark.parametrize(
    "junk", [b"", b"data: {\n\n", b"data: []\n\n", b"data: 5\n\n", b"data: {}\n\n", b"event: x\n\n"]
)
@pytest.mark.parametrize("wire", WIRE_NAMES.values())
def test_events_that_make_no_response_are_refused(junk: bytes, wire: Wire) -> None:
    with pytest.raises(ValueError, match=r"no response|cut off|Expecting|Extra"):
        answer_from_events(junk, wire)


@pytest.mark.parametrize("junk", [b"{}", b"[]", b"5", b'{"choices": 5}', b'{"content": [5]}', b'{"output": [5]}'])
@pytest.mark.parametrize("wire", WIRE_NAMES.values())
def test_documents_that_are_no_response_have_no_events(junk: bytes, wire: Wire) -> None:
    with pytest.raises(ValueError, match=r"no response|cut off|Expecting|Extra"):
        events_from_answer(junk, wire)


async def test_the_official_clients_read_the_events(relay: RelayClient, settings: Any) -> None:
    """The events are given to the clients' own accumulators, by a transport that replays them."""

    # The library of the official clients.
    httpx2 = import_module("httpx2")

    def transport(events: bytes) -> Any:
        return httpx2.AsyncClient(
            transport=httpx2.MockTransport(lambda request: httpx2.Response(200, content=events, headers=SSE))
        )

    async with (
        AsyncAnthropic(
            api_key="k", http_client=transport(events_from_answer(body(RICH["messages"]), "anthropic"))
        ) as one,
        one.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]) as stream,
    ):
        message = await stream.get_final_message()
    assert [block.model_dump(exclude_none=True) for block in message.content] == RICH["messages"]["content"]
    other = transport(events_from_answer(body(RICH["responses"]), "openai-responses"))
    async with (
        AsyncOpenAI(api_key="k", http_client=other) as two,
        two.responses.stream(model="m", input="x") as responses,
    ):
        response = await responses.get_final_response()
    assert [item.type for item in response.output] == [item["type"] for item in RICH["responses"]["output"]]
    assert response.output_text == "Hi"
