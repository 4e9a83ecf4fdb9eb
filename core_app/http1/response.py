"""A response as it arrives: its head, and its body in pieces, with no more of it in memory than a reader leaves."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from core_app.http1.errors import HttpClientError

HIGH_WATER = 256 * 1024
"""Bytes that nobody has read yet, beyond which the connection is not read until somebody does."""


class Source(Protocol):
    """The connection that a response comes from."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        """Closes the connection at once."""


class Response:
    """A response whose head is complete. Header names are in lower case; bodies are as they came, encoded or not.

    `close` ends it. A connection whose response was read to its end is used again, any other is closed.
    """

    __slots__ = ("_chunks", "_ended", "_error", "_paused", "_size", "_source", "_waiter", "headers", "status")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._paused = self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []

    @property
    def ended(self) -> bool:
        """True when the whole body has arrived."""
        return self._ended

    def header(self, name: bytes) -> str | None:
        """Returns a header by its name in lower case; several are joined by a comma."""
        values = [value.strip(b" \t") for known, value in self.headers if known == name]
        return b", ".join(values).decode("latin-1") if values else None

    @property
    def content_length(self) -> int | None:
        """The length of the body as the head has it; None when only the end will tell."""
        given = self.header(b"content-length")
        return int(given) if given is not None and given.isdigit() else None

    async def readany(self) -> bytes:
        """Returns what has arrived of the body, once there is any; no bytes at its end. Raises HttpClientError."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self._source.resume_reading()
        return data

    async def read(self, limit: int) -> bytes:
        """Returns the whole body, or more than `limit` bytes of a longer one. Raises HttpClientError."""
        data = await self.readany()
        if self._ended and not self._chunks and self._error is None:
            return data
        pieces, size = [data], len(data)
        while size <= limit and (data := await self.readany()):
            pieces.append(data)
            size += len(data)
        return b"".join(pieces)

    def set_exception(self, error: BaseException) -> None:
        """Ends the response with an error, which the reader gets after the bytes that have arrived."""
        if not self._ended and self._error is None:
            self._error = error
            self._wake()

    def close(self) -> None:
        """Closes the connection, unless the whole response has arrived."""
        self._chunks.clear()
        if not self._ended:
            self.set_exception(HttpClientError("The response was closed."))
            self._source.abort()

    # -- for the connection --------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Adds a piece of the body."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._paused:
            self._paused = True
            self._source.pause_reading()
        self._wake()

    def finish(self) -> None:
        """Says that the body is complete. The connection may be read for the next response from now on."""
        self._ended = True
        if self._paused:
            self._paused = False
            self._source.resume_reading()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
