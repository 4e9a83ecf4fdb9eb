"""A page is decoded by the charsets of the web and by no other codec of Python."""

from __future__ import annotations

import encodings.aliases

import pytest

from core_app.content_threads import Deadline
from tools_app.executors.page_charset import PIECE_BYTES, codec_of, decode_page


def decoded(text: str, codec: str, charset: str) -> str:
    return decode_page(text.encode(codec), charset, Deadline())


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("UTF-8", "utf-8", "naïve 🙂"),
        ("utf-8", "utf-8-sig", "marked"),
        ("utf-16", "utf-16", "naïve 🙂"),
        ("utf-16le", "utf-16-le", "naïve"),
        ("utf-16be", "utf-16-be", "naïve"),
        ("latin1", "latin-1", "naïve"),
        ("ISO-8859-1", "cp1252", "“naïve”"),
        ("iso-8859-15", "iso8859_15", "5 €"),
        ("windows-1251", "cp1251", "привет"),
        ("koi8-r", "koi8_r", "привет"),
        ("Shift_JIS", "cp932", "こんにちは"),
        ("euc-jp", "euc_jp", "こんにちは"),
        ("euc-kr", "euc_kr", "안녕하세요"),
        ("gb2312", "gb2312", "你好"),
        ("gb18030", "gb18030", "你好 🙂"),
        ("big5", "big5", "你好"),
    ],
)
def test_the_charsets_of_the_web_are_read(charset: str, codec: str, text: str) -> None:
    assert decoded(text, codec, charset) == text


def test_a_character_is_whole_on_the_border_of_two_pieces() -> None:
    text = "x" * (PIECE_BYTES - 1) + "é" * PIECE_BYTES
    assert decoded(text, "utf-8", "utf-8") == text


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "undefined", "unicode_escape", "rot13", "zlib", "mbcs", "no\0"]
)
def test_any_other_name_is_read_as_utf_8_with_what_does_not_fit_replaced(charset: str) -> None:
    assert codec_of(charset) == "utf-8"
    assert decode_page(b"na\xc3\xafve \xff", charset, Deadline()) == "naïve \ufffd"


def test_every_codec_that_a_page_can_choose_is_incremental_and_reads_any_bytes() -> None:
    names = {codec_of(name.replace("_", "-")) for name in encodings.aliases.aliases}
    for name in names:
        assert isinstance(decode_page(bytes(range(256)) * 2, name, Deadline()), str)


def test_decoding_ends_at_its_deadline() -> None:
    with pytest.raises(TimeoutError):
        decode_page(b"x", "utf-8", Deadline(-1.0))
