"""Whatever a client sends is converted or refused, and whatever a provider sends is an answer or a failure.

Good requests and answers are taken and something in them is replaced by junk: that reaches further than junk alone.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_app.errors import BadRequest
from inference_app.catalogue.config import Wire
from inference_app.conversion import ClientDialect, CompletionError, RequestConverter, estimate_tokens
from tests.conversion.building import Json, call_delta, chat_answer, chat_stream, converter, data, events_of
from tests.conversion.requests_of_clients import CASES, GOLDEN, WIRES

JUNK: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, 0, -1, 1.5, "", "x", "\ud800", [], {}, [5], ["x"], [{}], {"type": 5}, {"type": "x"}]),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
)
examples = settings(max_examples=60, deadline=None)
CASE_WIRES = [(name, wire) for name, (dialect, _) in CASES.items() for wire in WIRES[dialect]]
REQUESTS = {name: json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))["request"] for name in CASES}
REQUESTS["responses-assistant"]["tools"] = REQUESTS["responses-assistant"]["tools"][:6]
REQUESTS["messages-assistant"]["tools"] = REQUESTS["messages-assistant"]["tools"][:3]
CALL = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
ANSWER = chat_answer({"content": "Text.", "reasoning_content": "Hm.", "tool_calls": [CALL]}, "tool_calls")
STREAM = chat_stream(
    {"reasoning_content": "Hm."}, {"content": "Hi"}, {"refusal": "no"}, call_delta(0, "a", "look", "{}"), finish="stop"
)
PAIRS: list[tuple[ClientDialect, Wire]] = [(client, wire) for client, wires in WIRES.items() for wire in wires]


@pytest.mark.parametrize(("client", "wire"), PAIRS)
def test_a_field_of_the_providers_wire_does_not_take_the_place_of_a_converted_one(
    client: ClientDialect, wire: Wire
) -> None:
    said = [{"role": "user", "content": "Hi"}]
    body = {
        "model": "m",
        "max_tokens": 5,
        "max_output_tokens": 5,
        "input" if client == "responses" else "messages": said,
    }
    expected = converter(client, wire).convert_request(copy.deepcopy(body))
    # What the client's API does not have is the provider's business, but for what the conversion has written.
    foreign = {name: "forged" for name in expected if name not in body and name != "store"}
    assert converter(client, wire).convert_request({**body, **foreign}) == expected


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of each part that can be replaced."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def spoiled(draw: st.DrawFn, good: Any) -> Any:
    """A copy with junk in up to three places."""
    value = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(value))
        if not known:
            break
        *path, last = draw(st.sampled_from(known))
        holder = value
        for key in path:
            holder = holder[key]
        holder[last] = copy.deepcopy(draw(JUNK))
    return value


def on_wire(wire: Wire, answer: bool) -> Any:
    """The good answer, or the good stream's events, as a provider of that wire sends them."""
    if wire == "openai-chat":
        return ANSWER if answer else events_of(STREAM)[:-1]
    speaking = converter("messages" if wire == "anthropic" else "responses")
    return speaking.convert_response(ANSWER) if answer else events_of(speaking.feed(STREAM) + speaking.finish())


@pytest.mark.parametrize(("name", "wire"), CASE_WIRES)
@examples
@given(st.data())
def test_a_spoiled_request_is_converted_or_refused(name: str, wire: Wire, data: st.DataObject) -> None:
    body = data.draw(st.composite(spoiled)(REQUESTS[name]))
    made = RequestConverter(CASES[name][0], wire)
    try:
        converted = made.request(json.dumps(body).encode())
    except BadRequest as refusal:
        told = refusal.message
    else:
        told = json.loads(converted)
    assert told
    made.headers()


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@examples
@given(st.data())
def test_a_spoiled_stream_is_an_answer_or_a_failure(client: ClientDialect, wire: Wire, data: st.DataObject) -> None:
    events = data.draw(st.composite(spoiled)(on_wire(wire, answer=False)))
    made = converter(client, wire)
    written = b""
    try:
        for event in events:
            written += made.feed(frame(event))
        written += made.finish()
    except CompletionError as failure:
        written += made.fail(failure.failure)
    assert events_of(written)


def frame(event: Any) -> bytes:
    return data({**event}) if isinstance(event, dict) else b"data: " + json.dumps(event).encode() + b"\n\n"


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@examples
@given(st.data())
def test_a_spoiled_answer_is_an_answer_or_a_failure(client: ClientDialect, wire: Wire, data: st.DataObject) -> None:
    body: Json = data.draw(st.composite(spoiled)(on_wire(wire, answer=True)))
    try:
        told: Any = json.loads(converter(client, wire).answer(json.dumps(body).encode()))
    except CompletionError as failure:
        told = failure.failure.code
    assert told


@examples
@given(st.data())
def test_anything_has_an_estimate(data: st.DataObject) -> None:
    assert estimate_tokens(data.draw(st.composite(spoiled)(REQUESTS["messages-assistant"]))) >= 1


def test_json_that_is_nested_too_deep_is_refused() -> None:
    deep = b'{"model":"m","input":' + b"[" * 200 + b"]" * 200 + b"}"
    with pytest.raises(BadRequest):
        RequestConverter("responses", "openai-chat").request(deep)
