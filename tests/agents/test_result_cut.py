"""Results that are too large are cut: the ends stay, and the note between them tells how to read the rest."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart

from agents_app.context_room import ContextRoom
from agents_app.result_cut import LEAST_CHARACTERS, ResultCutter, cut_count, whole_of

ROOM = ContextRoom(2_000)
NOTE_CHARACTERS = 300


def request(*contents: str) -> ModelRequest:
    return ModelRequest(parts=[ToolReturnPart("echo", text, tool_call_id=f"c{n}") for n, text in enumerate(contents)])


def texts(messages: list[ModelMessage]) -> list[str]:
    return [str(part.content) for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]


@given(st.lists(st.integers(0, 60_000), min_size=1, max_size=8), st.integers(200, 20_000))
def test_results_fit_their_room_each_and_together(sizes: list[int], tokens: int) -> None:
    room = ContextRoom(tokens)
    cut = texts(ResultCutter(readable=True).cut_messages([request(*("x" * size for size in sizes))], room))
    least = (LEAST_CHARACTERS + NOTE_CHARACTERS) * len(sizes)
    assert all(len(text) <= max(room.result_characters, LEAST_CHARACTERS + NOTE_CHARACTERS) for text in cut)
    assert sum(map(len, cut)) <= max(room.response_characters, least)


def test_a_small_result_stays_whole_beside_a_large_one() -> None:
    small, large = texts(ResultCutter(readable=True).cut_messages([request("s" * 300, "x" * 90_000)], ROOM))
    assert small == "s" * 300
    assert len(large) <= ROOM.result_characters


def test_the_note_names_the_part_that_is_left_out() -> None:
    whole = "".join(f"{number:07}" for number in range(10_000))
    (cut,) = texts(ResultCutter(readable=True).cut_messages([request(whole)], ROOM))
    head, note, tail = cut.split("\n")
    assert whole.startswith(head)
    assert whole.endswith(tail)
    found = re.search(r"\{.*\}", note)
    assert found is not None
    call = json.loads(found[0])
    assert call["call_id"] == "c0"
    assert call["offset"] == len(head)
    assert f"{len(whole) - len(head) - len(tail)} of the {len(whole)} characters" in note
    assert call["length"] + NOTE_CHARACTERS <= ROOM.result_characters + NOTE_CHARACTERS


def test_a_model_with_a_tool_of_that_name_is_not_told_to_use_it() -> None:
    (cut,) = texts(ResultCutter(readable=False).cut_messages([request("x" * 90_000)], ROOM))
    assert "read_result" not in cut


def test_a_cut_result_is_whole_again_for_a_larger_model() -> None:
    cutter, whole = ResultCutter(readable=True), "x" * 90_000
    cut = cutter.cut_messages([request(whole)], ROOM)
    assert texts(cut) != [whole]
    assert texts(cutter.cut_messages(cut, ContextRoom(1_000_000))) == [whole]


def test_tightening_comes_to_an_end() -> None:
    cutter = ResultCutter(readable=True)
    messages: list[ModelMessage] = [request("x" * 90_000, "y" * 500, "z" * 100)]
    rounds = 0
    while (tighter := cutter.tighten(messages)) is not None:
        assert cut_count(messages, tighter) > 0
        messages, rounds = tighter, rounds + 1
    assert 1 < rounds < 12
    assert all(len(text) <= LEAST_CHARACTERS + NOTE_CHARACTERS for text in texts(messages))
    whole = [whole_of(part) for part in messages[0].parts if isinstance(part, ToolReturnPart)]
    assert whole == ["x" * 90_000, "y" * 500, "z" * 100]
