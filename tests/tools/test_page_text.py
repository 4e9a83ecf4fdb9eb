"""The text of a page, however carelessly or maliciously it is written."""

from __future__ import annotations

from time import thread_time

import pytest

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
    "references to what is no text": ("&#0;&#xD800;&lt;p&gt;", "\ufffd\ufffd<p>"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_pages_text_is_what_a_reader_sees(name: str) -> None:
    page, text = PAGES[name]
    assert page_text(page) == text


ENDLESS = ["<a b ", "<a b=", "<a b='", "<a / ", "<!--", "<![", "</a ", "<script>", "<script><"]


@pytest.mark.parametrize("piece", ENDLESS)
def test_markup_that_never_ends_takes_no_time(piece: str) -> None:
    first, rest = piece[:3], piece[2:]
    for page in (piece * (MEBIBYTE // len(piece)), first + rest * (MEBIBYTE // len(rest))):
        before = thread_time()
        page_text(page)
        assert thread_time() - before < 1.0  # half of it at the most, yielding to others all the while


def test_a_tag_of_a_mebibyte_is_passed_at_once() -> None:
    before = thread_time()
    assert page_text("<a " + "b " * (MEBIBYTE // 2) + ">x") == "x"
    assert thread_time() - before < 0.1
