"""The text of a page, however carelessly or maliciously it is written."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tools_app.executors import page_text as module
from tools_app.executors.page_text import page_text

MEBIBYTE = 1024 * 1024

PAGES = {
    "a whole page": (
        "<html><head><title>t</title></head><body><h1>Big</h1><p>One &amp; <b>two</b></p>",
        "Big\nOne & two",
    ),
    "a head without its end": ("<html><head><title>t</title><meta charset=utf-8><body><p>Seen", "Seen"),
    "a head with neither end nor body": ("<head><title>t</title><p>Seen", "Seen"),
    "a last text with an ampersand": ("<p>first</p>Fish&Chips", "first\nFish&Chips"),
    "no markup": ("AT&T, 1 < 2, a <b", "AT&T, 1 < 2, a"),
    "unknown marked sections": ("<p>a</p><![foo[ x ]><!ELEMENT br><?php x ?><p>b", "a\nb"),
    "a comment that never ends": ("a<!-- b <p>c", "a"),
    "markup within scripts": ("a<script>if (1 < 2) { '<p>x</p>' }</SCRIPT>b<style>p > a {}</style>c", "abc"),
    "a script that never ends": ("a<script>b<p>c", "a"),
    "signs of an end within values": ("a<a title='x > y' href = \"</a>\">b</a>c", "abc"),
    "quotes that begin no value": ("<p it's>a</p><p 'b>c", "a\nc"),
    "pictures within the text": ("a<svg><title>x</title><g/></svg>b<svg/>c<template><p>x</template>d", "abcd"),
    "blocks": ("<ul><li>a<li>b</li></ul>c<br/>d", "a\nb\nc\nd"),
    "silent parts in each other": ("a<svg><template><g></svg>b</template>c<noscript>d<body>e", "abce"),
    "references to what is no text": ("&#0;&#xD800;&lt;p&gt;", "\ufffd\ufffd<p>"),
    "references to no character": (f"a&#{'9' * 5_000};b&#99999999;&#{'0' * 5_000}65;", "a\ufffdb\ufffdA"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_pages_text_is_what_a_reader_sees(name: str) -> None:
    page, text = PAGES[name]
    assert page_text(page) == text


ENDLESS = ["<a b ", "<a b=", "<a b='", "<a / ", "<!--", "<![", "</a ", "<script>", "<script><"]


class Looked:
    """The number of characters of a page that were looked at, and of looks."""

    def __init__(self) -> None:
        self.characters = 0
        self.looks = 0

    def at(self, characters: int) -> None:
        self.characters += characters
        self.looks += 1

    def page(self, text: str) -> str:
        return _Page(text, self)

    def pattern(self, compiled: re.Pattern[str]) -> Any:
        return _Pattern(compiled, self)


class _Page(str):
    __slots__ = ("_looked",)
    _looked: Looked

    def __new__(cls, text: str, looked: Looked) -> _Page:
        made = super().__new__(cls, text)
        made._looked = looked
        return made

    def find(self, sought: str, start: Any = 0, end: Any = None) -> int:
        found = super().find(sought, start)
        self._looked.at((found if found >= 0 else len(self)) - start + len(sought))
        return found

    def startswith(self, sought: Any, start: Any = 0, end: Any = None) -> bool:
        self._looked.at(4)
        return super().startswith(sought, start)

    def __getitem__(self, place: Any) -> str:
        part = super().__getitem__(place)
        self._looked.at(len(part))
        return part


class _Pattern:
    def __init__(self, compiled: re.Pattern[str], looked: Looked) -> None:
        self._compiled = compiled
        self._looked = looked

    def match(self, page: str, at: int) -> re.Match[str] | None:
        found = self._compiled.match(page, at)
        self._looked.at(found.end() - at if found else 1)
        return found

    def search(self, page: str, at: int) -> re.Match[str] | None:
        found = self._compiled.search(page, at)
        self._looked.at((found.end() if found else len(page)) - at)
        return found


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    looked = Looked()
    for name in ("_NAME", "_QUOTE_OR_END"):
        monkeypatch.setattr(module, name, looked.pattern(getattr(module, name)))
    ends = {name: looked.pattern(pattern) for name, pattern in module._END_OF.items()}
    monkeypatch.setattr(module, "_END_OF", ends)
    return looked


@pytest.mark.parametrize("piece", ENDLESS)
def test_no_part_of_markup_that_never_ends_is_looked_at_again_and_again(piece: str, looked: Looked) -> None:
    first, rest = piece[:3], piece[2:]
    for page in (piece * (MEBIBYTE // len(piece)), first + rest * (MEBIBYTE // len(rest))):
        looked.characters = 0
        page_text(looked.page(page))
        assert len(page) <= looked.characters <= 4 * len(page)


@pytest.mark.parametrize("then", ["<b>", "</template>", "</svg>"])
def test_what_is_open_is_not_looked_through_at_every_tag(then: str) -> None:
    """It would be ten thousand million comparisons, and more than this test may take."""
    assert page_text("a" + "<svg>" * 200_000 + then * 100_000) == "a"


def test_a_tag_of_a_mebibyte_is_passed_at_once(looked: Looked) -> None:
    assert page_text(looked.page("<a " + "b " * (MEBIBYTE // 2) + ">x")) == "x"
    assert looked.looks < 20
