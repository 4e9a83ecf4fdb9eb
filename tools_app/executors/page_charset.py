"""The decoding of a page by the charset that its server names.

Only the charsets of the web are used, and utf-8 for every other name: Python has codecs whose time is quadratic
(punycode), that always fail (undefined) or that are not for text (zlib). All of these here take linear time. Bytes that
do not fit are replaced.
"""

from __future__ import annotations

import codecs

from core_app.content_threads import Deadline

PIECE_BYTES = 64 * 1024
"""Bytes that are decoded between two looks at the deadline."""

_PYTHON_NAMES = {
    "cp1252": ("ascii", "us-ascii", "latin1", "latin-1", "l1", "iso-8859-1", "iso8859-1", "windows-1252", "x-cp1252"),
    "utf-16": ("utf-16", "unicode"),
    "utf-16-le": ("utf-16le",),
    "utf-16-be": ("utf-16be",),
    "cp932": ("shift_jis", "shift-jis", "sjis", "x-sjis", "ms_kanji", "windows-31j"),
    "euc_jp": ("euc-jp", "x-euc-jp"),
    "cp949": ("euc-kr", "ks_c_5601-1987", "ksc5601", "korean", "windows-949"),
    "gb18030": ("gb18030", "gbk", "x-gbk", "gb2312", "gb_2312-80", "euc-cn", "chinese"),
    "big5hkscs": ("big5", "big5-hkscs", "x-x-big5", "cn-big5", "euc-tw"),
    "koi8_r": ("koi8-r", "koi8", "koi"),
    "koi8_u": ("koi8-u", "koi8-ru"),
    "cp874": ("windows-874", "iso-8859-11", "tis-620"),
    **{f"cp125{n}": (f"windows-125{n}", f"cp125{n}", f"x-cp125{n}") for n in (0, 1, 3, 4, 5, 6, 7, 8)},
    **{f"iso8859_{n}": (f"iso-8859-{n}", f"iso8859-{n}") for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
}
_CODECS = {label: name for name, labels in _PYTHON_NAMES.items() for label in labels}


def codec_of(charset: str) -> str:
    """Returns the Python codec for a charset of the web; utf-8 for any other name."""
    return _CODECS.get(charset.strip().lower(), "utf-8")


def decode_page(body: bytes, charset: str, deadline: Deadline) -> str:
    """Returns the text of the bytes. Raises TimeoutError at the deadline."""
    decoder = codecs.getincrementaldecoder(codec_of(charset))("replace")
    pieces = []
    for start in range(0, len(body), PIECE_BYTES):
        deadline.check()
        pieces.append(decoder.decode(body[start : start + PIECE_BYTES]))
    pieces.append(decoder.decode(b"", final=True))
    return "".join(pieces).removeprefix("\ufeff")
