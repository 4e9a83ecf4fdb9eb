"""docs/conversions.md names every field that a conversion leaves out, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inference_app.conversion.requests import chat_to_messages, chat_to_responses, messages_to_chat, responses_to_chat
from responses_app.request import STATE_FIELDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "conversions.md").read_text(encoding="utf-8")


def listed(beginning: str) -> set[str]:
    """The fields of the list item that begins so; what is said in brackets or after a semicolon is no field."""
    _, found, rest = PAGE.partition(f"\n- {beginning}:")
    assert found
    fields = re.split(r"\n(?! )", rest)[0].partition(";")[0]
    return set(re.findall(r"`(\w+)`", fields))


@pytest.mark.parametrize(
    ("beginning", "left_out"),
    [
        ("Responses, before other wires", (responses_to_chat.LEFT_OUT | {"include"}) - set(STATE_FIELDS)),
        ("Messages, before other wires", messages_to_chat.LEFT_OUT),
        ("Chat, before `openai-responses`", chat_to_responses.LEFT_OUT),
        ("Chat, before `anthropic`", chat_to_messages.LEFT_OUT),
    ],
)
def test_the_fields_that_are_left_out_are_listed(beginning: str, left_out: set[str]) -> None:
    assert listed(beginning) == left_out
