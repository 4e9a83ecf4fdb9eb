"""Content codings: what was encoded comes back, in bounded pieces, however the bytes are cut."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest

from core_app.content_codings import (
    PIECE_BYTES,
    BrokenCoding,
    UnknownCoding,
    decode_body,
    open_decoder,
    zstd,
)

PLAIN = b'{"text":"' + b"many words, " * 30_000 + bytes(range(256)) * 500 + b'"}'


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


ENCODED = [
    ("gzip", gzip.compress(PLAIN, mtime=0)),
    ("x-gzip", gzip.compress(PLAIN, mtime=0)),
    ("gzip", gzip.compress(PLAIN[:99], mtime=0) + gzip.compress(PLAIN[99:], mtime=0)),
    ("deflate", zlib.compress(PLAIN)),
    ("deflate", raw_deflate(PLAIN)),
    ("br", brotli.compress(PLAIN)),
    ("zstd", zstd.compress(PLAIN)),
    ("zstd", zstd.compress(PLAIN[:99]) + zstd.compress(PLAIN[99:])),
    ("gzip, BR", brotli.compress(gzip.compress(PLAIN, mtime=0))),
    ("identity, gzip", gzip.compress(PLAIN, mtime=0)),
]
NAMES = [f"{coding} {number}" for number, (coding, _) in enumerate(ENCODED)]


@pytest.mark.parametrize(("coding", "encoded"), ENCODED, ids=NAMES)
@pytest.mark.parametrize("step", [1, 1000, 10**9])
def test_what_was_encoded_comes_back_in_bounded_pieces(coding: str, encoded: bytes, step: int) -> None:
    decoder = open_decoder(coding)
    assert decoder is not None
    pieces = [piece for at in range(0, len(encoded), step) for piece in decoder.pieces(encoded[at : at + step])]
    decoder.finish()
    assert b"".join(pieces) == PLAIN
    assert max(map(len, pieces)) <= PIECE_BYTES


@pytest.mark.parametrize(("coding", "encoded"), ENCODED, ids=NAMES)
@pytest.mark.parametrize("kept", [1, 50, -1])
async def test_a_body_that_ends_too_early_is_broken(coding: str, encoded: bytes, kept: int) -> None:
    decoder = open_decoder(coding)
    assert decoder is not None
    with pytest.raises(BrokenCoding):
        await decode_body(encoded[:kept], decoder, 10**9)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_other_bytes_are_broken(coding: str) -> None:
    decoder = open_decoder(coding)
    assert decoder is not None
    with pytest.raises(BrokenCoding):
        await decode_body(b'{"model": "this is no coding"}' * 10, decoder, 10**9)


@pytest.mark.parametrize("coding", ["compress", "gzip, lzma", "gzip, gzip, gzip", "aws-chunked"])
def test_an_unknown_coding_is_refused(coding: str) -> None:
    with pytest.raises(UnknownCoding):
        open_decoder(coding)


@pytest.mark.parametrize("coding", [None, "", "identity", " Identity "])
def test_no_coding_needs_no_decoder(coding: str | None) -> None:
    assert open_decoder(coding) is None


BOMB = b"\0" * 50_000_000


@pytest.mark.parametrize(
    ("coding", "encoded"),
    [("gzip", gzip.compress(BOMB)), ("br", brotli.compress(BOMB, quality=1)), ("zstd", zstd.compress(BOMB))],
    ids=["gzip", "br", "zstd"],
)
async def test_a_bomb_is_given_up_at_the_limit(coding: str, encoded: bytes) -> None:
    decoder, held = open_decoder(coding), list[int]()
    assert decoder is not None
    assert len(encoded) < 100_000
    assert await decode_body(encoded, decoder, 3_000_000, held.append) is None
    assert max(held) <= 3_000_000
    assert len(held) < 10


async def test_whoever_holds_the_bytes_may_refuse_more() -> None:
    def refuse(size: int) -> None:
        raise MemoryError

    decoder = open_decoder("gzip")
    assert decoder is not None
    with pytest.raises(MemoryError):
        await decode_body(gzip.compress(BOMB), decoder, 10**9, refuse)
