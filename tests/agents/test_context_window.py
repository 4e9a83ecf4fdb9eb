"""A shortened conversation is always one that a provider accepts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from agents_app.context_window import estimated_tokens, shorten, transcript


def prompt(text: str) -> ModelRequest:
    return ModelRequest(parts=[UserPromptPart(text)])


def exchange(number: int, size: int) -> list[ModelMessage]:
    call = ToolCallPart("echo", "{}", tool_call_id=f"c{number}")
    return [
        ModelResponse(parts=[call]),
        ModelRequest(parts=[ToolReturnPart("echo", "z" * size, tool_call_id=f"c{number}")]),
    ]


@st.composite
def conversations(draw: st.DrawFn) -> list[ModelMessage]:
    """Draws conversations of prompts, each with tool exchanges and perhaps an answer, that end with a request."""
    messages: list[ModelMessage] = [ModelRequest(parts=[SystemPromptPart("s")])] if draw(st.booleans()) else []
    number = 0
    for turn in range(draw(st.integers(1, 5))):
        messages.append(prompt(f"p{turn} " + "x" * draw(st.integers(0, 200))))
        for _ in range(draw(st.integers(0, 4))):
            messages += exchange(number, draw(st.integers(0, 400)))
            number += 1
        if draw(st.booleans()):
            messages.append(ModelResponse(parts=[TextPart("y" * draw(st.integers(0, 200)))]))
    if isinstance(messages[-1], ModelResponse):
        messages.append(prompt("last"))
    return messages


@given(conversations(), st.integers(0, 500))
def test_no_call_is_parted_from_its_result_and_the_newest_request_stays(
    messages: list[ModelMessage], target: int
) -> None:
    short = shorten(messages, target)
    if short is None:
        return
    called = [part.tool_call_id for m in short.kept for part in m.parts if isinstance(part, ToolCallPart)]
    answered = [part.tool_call_id for m in short.kept for part in m.parts if isinstance(part, ToolReturnPart)]
    assert called == answered
    assert short.kept[-1] is messages[-1]
    assert short.kept_from in short.kept


@given(conversations(), st.integers(0, 500))
def test_what_is_kept_and_what_is_dropped_are_the_whole_in_its_order(messages: list[ModelMessage], target: int) -> None:
    short = shorten(messages, target)
    if short is None:
        return
    assert short.dropped
    places = {id(message): index for index, message in enumerate(messages)}
    for part in (short.kept, short.dropped):
        indices = [places[id(message)] for message in part]
        assert indices == sorted(indices)
    assert len(short.kept) + len(short.dropped) == len(messages)


@given(conversations(), st.integers(0, 500))
def test_a_conversation_still_begins_with_what_the_user_asked(messages: list[ModelMessage], target: int) -> None:
    short = shorten(messages, target)
    if short is None:
        return
    first = short.kept[short.lead]
    assert isinstance(first, ModelRequest)
    assert any(isinstance(part, UserPromptPart) for part in first.parts)


@given(conversations())
def test_shortening_again_and_again_comes_to_an_end(messages: list[ModelMessage]) -> None:
    for _ in range(len(messages) + 1):
        short = shorten(messages, 0)
        if short is None:
            return
        assert len(short.kept) < len(messages)
        messages = short.kept
    raise AssertionError("There was always something left to drop.")


def test_as_little_is_dropped_as_fits() -> None:
    messages: list[ModelMessage] = [prompt("a" * 400), prompt("b" * 400), prompt("c" * 400)]
    short = shorten(messages, 200)
    assert short is not None
    assert short.kept == messages[1:]
    assert estimated_tokens(short.kept) == 200


def test_a_single_prompt_cannot_be_shortened() -> None:
    assert shorten([prompt("x" * 10_000)], 10) is None


def test_a_transcript_names_who_said_what_and_is_bounded() -> None:
    messages: list[ModelMessage] = [prompt("hello"), *exchange(1, 3), ModelResponse(parts=[TextPart("bye")])]
    text = transcript(messages, 1000)
    assert text == "User: hello\nAssistant calls echo {}\nResult of echo: zzz\nAssistant: bye"
    assert len(transcript([prompt("x" * 5000)], 100)) < 120
