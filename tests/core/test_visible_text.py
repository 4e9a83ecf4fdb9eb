"""Tests of text whose invisible characters are made visible."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from core_app.visible_text import is_hidden, visible_parts, visible_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pay \u202e001 EUR", "pay \\u202e001 EUR"),
        ("a\u200bb", "a\\u200bb"),
        ("a\u00a0b", "a\\u00a0b"),
        ("hangul \u3164filler", "hangul \\u3164filler"),
        ("bell \x07, CR \r, DEL \x7f", "bell \\u0007, CR \\u000d, DEL \\u007f"),
        ("tag \U000e0041", "tag \\udb40\\udc41"),
        ("two lines\n\tand a tab", "two lines\n\tand a tab"),
        ("Grüße, 北京, Ελλάδα, 👍", "Grüße, 北京, Ελλάδα, 👍"),
        ("", ""),
    ],
)
def test_hidden_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert visible_text(text) == shown
    assert "".join(part for part, _ in visible_parts(text)) == shown


def test_the_escapes_are_jsons() -> None:
    text = "\u202e \U000e0041 \u00ad"
    assert json.loads(f'"{visible_text(text)}"') == text


def test_every_bidirectional_control_and_format_character_is_hidden() -> None:
    controls = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI", "BN"}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.bidirectional(character) in controls or unicodedata.category(character) == "Cf":
            assert is_hidden(character), hex(code)


def test_parts_are_told_apart() -> None:
    assert list(visible_parts("a\u200b\u200bc")) == [("a", False), ("\\u200b\\u200b", True), ("c", False)]
