"""The parser of text/event-stream: bytes in any pieces, frames out.

A frame counts once its blank line has arrived, so a connection that breaks inside of one loses nothing: the position
before it is sent back, and the gateway repeats the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_client.errors import GatewayError

MOST_BYTES = 16 * 1024 * 1024
"""The longest frame that is accepted; the gateway cuts its events at 256 KiB."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A complete frame. `id` is None where the frame has none, `data` where it only moves the position."""

    type: str
    id: str | None
    data: str | None


class FrameParser:
    """Keeps the bytes of the frame that is incomplete."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0

    def feed(self, piece: bytes) -> list[Frame]:
        """Returns the frames that `piece` completes. Raises GatewayError for a frame without an end."""
        self._buffer += piece
        frames: list[Frame] = []
        while (end := self._buffer.find(b"\n\n", max(self._scanned - 1, 0))) >= 0:
            frame = _frame(bytes(self._buffer[:end]))
            del self._buffer[: end + 2]
            self._scanned = 0
            if frame is not None:
                frames.append(frame)
        self._scanned = len(self._buffer)
        if self._scanned > MOST_BYTES:
            raise GatewayError(f"The stream has a frame of more than {MOST_BYTES} bytes.")
        return frames


def _frame(block: bytes) -> Frame | None:
    type_, position, data = "message", None, []
    for line in block.decode("utf-8").split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            type_ = value
        elif name == "id" and value:
            position = value
    if position is None and not data:
        return None
    return Frame(type_, position, "\n".join(data) if data else None)
