"""Content codings of HTTP (gzip, deflate, br, zstd), decoded in bounded pieces.

A few kilobytes may stand for gigabytes, so nothing here returns more than PIECE_BYTES at a time, and whoever reads
counts the decoded bytes. A decoder holds the window of its coding and one piece of input.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol

import brotli

from core_app.database import pool

zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
"""Python's own module, or its backport."""

PIECE_BYTES = 64 * 1024
BATCH_BYTES = 1024 * 1024
"""The bytes that are decoded at once in a thread, between two looks at the limit."""

WINDOW_LOG = 23
"""The largest window of zstd that HTTP allows, 8 MiB (RFC 9659)."""

MAX_CODINGS = 2
"""Codings on top of each other."""

THREADS = 2
CODINGS = ("gzip", "deflate", "br", "zstd")


class UnknownCoding(ValueError):
    """A coding that is not decoded here."""


class BrokenCoding(ValueError):
    """Bytes that are not of their coding, or end too early."""


class Decoder(Protocol):
    """The decoder of one body."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yields what these bytes decode to, none longer than PIECE_BYTES; raises BrokenCoding."""

    def finish(self) -> None:
        """Raises BrokenCoding if the body ended too early."""


class _Zlib:
    """gzip, of several members, or deflate: with the header of zlib, as the standard has it, or without."""

    def __init__(self, coding: str) -> None:
        self._gzip = coding == "gzip"
        self._made: Any = zlib.decompressobj(31) if self._gzip else None
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._made is None:
                    self._made = zlib.decompressobj(15 if data[0] & 0x0F == 8 else -15)
                elif self._made.eof:
                    if not self._gzip or not data.strip(b"\0"):
                        return
                    self._made = zlib.decompressobj(31)
                self._begun = True
                piece = self._made.decompress(data, PIECE_BYTES)
                data = self._made.unconsumed_tail or self._made.unused_data
                if piece:
                    yield piece
            while self._made is not None and not self._made.eof and (piece := self._made.decompress(b"", PIECE_BYTES)):
                yield piece
        except zlib.error:
            raise BrokenCoding from None

    def finish(self) -> None:
        if self._begun and not self._made.eof:
            raise BrokenCoding


class _Brotli:
    def __init__(self, coding: str) -> None:
        self._made = brotli.Decompressor()
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            if data and self._made.is_finished():
                raise BrokenCoding
            self._begun = self._begun or bool(data)
            # Input that is taken may still have output to come: only an empty piece says that nothing is left.
            while piece := self._made.process(data, output_buffer_limit=PIECE_BYTES):
                data = b""
                # The limit is a hint: the library may return a little more.
                yield from (piece[at : at + PIECE_BYTES] for at in range(0, len(piece), PIECE_BYTES))
                if self._made.is_finished():
                    return
        except brotli.error:
            raise BrokenCoding from None

    def finish(self) -> None:
        if self._begun and not self._made.is_finished():
            raise BrokenCoding


class _Zstd:
    def __init__(self, coding: str) -> None:
        self._made = self._new()
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            while data or not (self._made.needs_input or self._made.eof):
                if self._made.eof:
                    self._made = self._new()
                self._begun = True
                piece = self._made.decompress(data, PIECE_BYTES)
                data = self._made.unused_data if self._made.eof else b""
                if piece:
                    yield piece
        except (zstd.ZstdError, EOFError):
            raise BrokenCoding from None

    def finish(self) -> None:
        if self._begun and not self._made.eof:
            raise BrokenCoding

    @staticmethod
    def _new() -> Any:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})


class _Chain:
    """Several codings, the last applied first."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def pieces(self, data: bytes) -> Iterator[bytes]:
        return self._through(iter((data,)), 0)

    def finish(self) -> None:
        for decoder in self._decoders:
            decoder.finish()

    def _through(self, pieces: Iterator[bytes], index: int) -> Iterator[bytes]:
        if index == len(self._decoders):
            return pieces
        decoder = self._decoders[index]
        return self._through((out for piece in pieces for out in decoder.pieces(piece)), index + 1)


_DECODERS: dict[str, Callable[[str], Decoder]] = {
    "gzip": _Zlib,
    "x-gzip": lambda coding: _Zlib("gzip"),
    "deflate": _Zlib,
    "br": _Brotli,
    "zstd": _Zstd,
}


def open_decoder(header: str | None) -> Decoder | None:
    """Returns the decoder for a `Content-Encoding`; None if the body is not encoded. Raises UnknownCoding."""
    if not header:
        return None
    names = [name for part in header.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if len(names) > MAX_CODINGS or not all(name in _DECODERS for name in names):
        raise UnknownCoding
    decoders = [_DECODERS[name](name) for name in reversed(names)]
    if not decoders:
        return None
    return decoders[0] if len(decoders) == 1 else _Chain(decoders)


async def decode_body(
    raw: bytes, decoder: Decoder, limit: int, held: Callable[[int], None] = lambda size: None
) -> bytes | None:
    """Returns the decoded body, decoded off the loop; None as soon as it is longer than `limit`. `held` is told the
    decoded bytes so far, and may raise. Raises BrokenCoding."""
    loop, threads, source = asyncio.get_running_loop(), pool("gateway-bodies", THREADS), decoder.pieces(raw)
    parts, size = [], 0
    while batch := await loop.run_in_executor(threads, _next_batch, source):
        size += len(batch)
        if size > limit:
            return None
        held(size)
        parts.append(batch)
    decoder.finish()
    return b"".join(parts)


def _next_batch(source: Iterator[bytes]) -> bytes:
    parts, size = [], 0
    for piece in source:
        parts.append(piece)
        size += len(piece)
        if size >= BATCH_BYTES:
            break
    return b"".join(parts)
