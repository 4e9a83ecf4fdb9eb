"""A provider's stream gives the same events however the network cuts it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_app.catalogue.config import Wire
from inference_app.conversion import ClientDialect
from inference_app.conversion.sse import MAX_EVENT_BYTES, EventParser, EventTooLarge
from tests.conversion.building import call_delta, chat_stream, converter

CHAT = chat_stream(
    {"reasoning_content": "🤔"},
    {"content": "Hé"},
    call_delta(0, "a", "look", '{"q":'),
    call_delta(0, None, None, '"ü"}'),
    call_delta(1, "b", "look", "{}"),
    finish="tool_calls",
)


def provider_stream(wire: Wire) -> bytes:
    """The same answer on each wire."""
    if wire == "openai-chat":
        return CHAT
    speaking = converter("messages" if wire == "anthropic" else "responses")
    return speaking.feed(CHAT) + speaking.finish()


PAIRS: list[tuple[ClientDialect, Wire]] = [
    ("responses", "openai-chat"),
    ("messages", "openai-chat"),
    ("chat", "anthropic"),
    ("chat", "openai-responses"),
    ("responses", "anthropic"),
    ("messages", "openai-responses"),
]


def fed(client: ClientDialect, wire: Wire, pieces: list[bytes]) -> bytes:
    made = converter(client, wire)
    return b"".join([made.feed(piece) for piece in pieces]) + made.finish()


@pytest.mark.parametrize(("client", "wire"), PAIRS)
def test_a_stream_cut_at_every_byte_gives_the_same_events(client: ClientDialect, wire: Wire) -> None:
    stream = provider_stream(wire)
    whole = fed(client, wire, [stream])
    assert len(whole) > 500
    for at in range(len(stream)):
        assert fed(client, wire, [stream[:at], stream[at:]]) == whole, at


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_that_comes_byte_by_byte_gives_the_same_events(
    client: ClientDialect, wire: Wire, line_end: bytes
) -> None:
    stream = provider_stream(wire)
    ended = b"\xef\xbb\xbf" + stream.replace(b"\n", line_end)
    assert fed(client, wire, [ended[at : at + 1] for at in range(len(ended))]) == fed(client, wire, [stream])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, len(CHAT)), max_size=8))
def test_a_stream_cut_in_many_places_gives_the_same_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(CHAT)]
    pieces = [CHAT[a:b] for a, b in itertools.pairwise(edges)]
    assert fed("responses", "openai-chat", pieces) == fed("responses", "openai-chat", [CHAT])


def test_comments_ids_and_unknown_fields_of_a_stream_are_passed_over() -> None:
    noisy = b": OPENROUTER PROCESSING\n\nid: 1\nretry: 5\n\n" + CHAT.replace(b"data: ", b"id: 7\ndata:")
    assert fed("messages", "openai-chat", [noisy]) == fed("messages", "openai-chat", [CHAT])


def test_several_data_lines_are_one_event() -> None:
    assert list(EventParser().feed(b"data: a\ndata: b\n\n")) == [b"a\nb"]


def test_a_last_event_without_its_blank_line_counts() -> None:
    parser = EventParser()
    assert list(parser.feed(b"data: a")) == []
    assert list(parser.end()) == [b"a"]


def test_an_event_without_an_end_is_given_up() -> None:
    parser = EventParser()
    with pytest.raises(EventTooLarge):
        list(parser.feed(b"data: " + b"x" * (MAX_EVENT_BYTES + 1)))
