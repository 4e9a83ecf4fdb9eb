"""The room for messages: the window less instructions, tools and the response, corrected by the provider's count."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.test import TestModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from agents_app.context_room import RESPONSE_TOKENS, ContextRoom, context_room, fixed_tokens
from agents_app.context_window import estimated_tokens, shorten
from agents_app.engine import ToolSpec
from agents_app.model import _context_window
from agents_app.ready_model import ServedModel
from inference_app.catalogue.config import ModelEntry
from inference_app.catalogue.resolution import Candidate
from tests.agents.recording_leg import session_of


def served(window: int | None, **fields: Any) -> ServedModel:
    return ServedModel("m:test", TestModel(), lambda usage: None, context_window=window, **fields)


def prompt(text: str) -> ModelRequest:
    return ModelRequest(parts=[UserPromptPart(text)])


def answered(text: str, tokens: int, model: str = "test") -> list[ModelMessage]:
    response = ModelResponse(parts=[TextPart("ok")], usage=RequestUsage(input_tokens=tokens), model_name=model)
    return [prompt(text), response]


def tokens_of(room: ContextRoom | None) -> int:
    assert room is not None
    return room.tokens


def test_the_response_keeps_its_part() -> None:
    assert tokens_of(context_room(served(100_000), [], fixed=0)) == 100_000 - RESPONSE_TOKENS
    asked = served(100_000, settings=ModelSettings(max_tokens=20_000))
    assert tokens_of(context_room(asked, [], fixed=0)) == 80_000


def test_tools_and_instructions_keep_theirs() -> None:
    tool = ToolSpec("t", "d" * 4000, {"type": "object"})
    fixed = fixed_tokens(session_of(tools=(tool,), system_prompt="i" * 4000))
    assert 2000 <= fixed <= 2020
    assert tokens_of(context_room(served(100_000), [], fixed=fixed)) == 100_000 - RESPONSE_TOKENS - fixed


def test_an_unknown_window_has_no_room() -> None:
    assert context_room(served(None), [], fixed=0) is None


def test_a_provider_that_counts_more_corrects_the_estimate() -> None:
    dense = answered("x" * 8_000, 4_000)
    assert tokens_of(context_room(served(20_000), dense, fixed=0)) == pytest.approx((20_000 - 2_500) / 2, rel=0.01)


@pytest.mark.parametrize("messages", [answered("x" * 8_000, 11), answered("x" * 8_000, 4_000, "other"), [prompt("x")]])
def test_nothing_else_corrects_it(messages: list[ModelMessage]) -> None:
    assert tokens_of(context_room(served(20_000), messages, fixed=0)) == 17_500


def test_a_limit_of_messages_is_kept_to() -> None:
    room = context_room(served(200_000, max_messages=100), [], fixed=0)
    assert room is not None
    messages: list[ModelMessage] = [prompt("short") for _ in range(101)]
    assert not room.holds(messages)
    assert room.holds(messages[:90])
    short = shorten(messages, room.tokens // 2, per_message=room.per_message)
    assert short is not None
    assert len(short.kept) <= 50


def test_letters_of_other_scripts_count_by_their_bytes() -> None:
    assert estimated_tokens([prompt("漢" * 400)]) == 300
    assert estimated_tokens([prompt("a" * 400)]) == 100


def test_the_window_is_the_configured_one_else_the_listed_one_else_the_default(settings: Any) -> None:
    entry = ModelEntry(id="gpt-4o", context_window=5_000)
    assert _context_window(Candidate("openai", "gpt-4o"), entry) == 5_000
    assert _context_window(Candidate("openai", "gpt-4o"), None) == 128_000
    settings.GATEWAY_DEFAULT_CONTEXT_TOKENS = 7_000
    assert _context_window(Candidate("openai", "gpt-4o"), ModelEntry(id="gpt-4o")) == 128_000
    assert _context_window(Candidate("local", "unheard-of"), None) == 7_000
    settings.GATEWAY_DEFAULT_CONTEXT_TOKENS = 0
    assert _context_window(Candidate("local", "unheard-of"), None) is None
