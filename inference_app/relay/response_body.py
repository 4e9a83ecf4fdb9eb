"""The body of a provider's response, decoded if it came in a content coding, which this gateway does not ask for.

Decoded bytes are counted, and decoded in bounded pieces: those of a stream between two reads, those of a complete
response off the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from core_app.content_codings import BrokenCoding, Decoder, UnknownCoding, decode_body, open_decoder
from core_app.http1 import Response


class ResponseBody:
    """The bytes of one response as they come. `readany` returns the next ones, none at the end."""

    __slots__ = ("_response", "readany")

    def __init__(self, response: Response) -> None:
        self._response = response
        self.readany: Callable[[], Awaitable[bytes]] = response.readany

    async def read(self, limit: int) -> bytes:
        """Reads the body to its end, or until it is longer than `limit`; also one of which something was read."""
        return await self._response.read(limit)

    async def read_rest(self, limit: int) -> bytes:
        """Does the same for decoded bytes."""
        chunks, size = [], 0
        while size <= limit and (data := await self.readany()):
            chunks.append(data)
            size += len(data)
        return b"".join(chunks)


class EncodedBody(ResponseBody):
    """A body in a content coding. Raises BrokenCoding if it is not of that coding."""

    __slots__ = ("_decoder", "_pieces")

    def __init__(self, response: Response, decoder: Decoder) -> None:
        super().__init__(response)
        self._decoder = decoder
        self._pieces: Iterator[bytes] = iter(())
        self.readany = self._next_piece

    async def read(self, limit: int) -> bytes:
        raw = await ResponseBody(self._response).read(limit)
        body = await decode_body(raw, self._decoder, limit) if len(raw) <= limit else None
        return b" " * (limit + 1) if body is None else body

    async def _next_piece(self) -> bytes:
        while True:
            if piece := next(self._pieces, b""):
                # A piece that waits is here at once: without this, a body of many would hold up the loop.
                await asyncio.sleep(0)
                return piece
            data = await self._response.readany()
            if not data:
                self._decoder.finish()
                return b""
            self._pieces = self._decoder.pieces(data)


def response_body(response: Response) -> ResponseBody:
    """Returns the body of a response; raises BrokenCoding for a coding that is not decoded here."""
    try:
        decoder = open_decoder(response.header(b"content-encoding"))
    except UnknownCoding:
        raise BrokenCoding from None
    return ResponseBody(response) if decoder is None else EncodedBody(response, decoder)
