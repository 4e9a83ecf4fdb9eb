"""The observer of a provider's event stream: complete events pass unchanged, and usage and errors are read off them.

Bytes without a blank line after them are held back, so that a stream which breaks within an event can still be ended
with an event that a client can read. Only the few events that contain `usage` or `error` are parsed. A stream whose
lines end with CR alone, which the standard allows and hardly any provider sends, continues with LF.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping

import msgspec

from inference_app.catalogue.config import Wire
from inference_app.relay.response_check import has_content, is_provider_error
from inference_app.spend.usage import BODY, Usage

MAX_HELD = 1024 * 1024
"""The longest event that is held back; a longer one (an image) passes in pieces, to save memory and time."""

_RECENT = 8
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_DATA = re.compile(rb"^data:[ ]?(.*?)\r?$", re.MULTILINE)
_FRAME_BYTES: Mapping[Wire, int] = {"openai-chat": 190, "anthropic": 130, "openai-responses": 200}
"""Bytes of an event beside its text, for the estimate of a stream without usage."""
_LINES: Mapping[Wire, int] = {"openai-chat": 2, "anthropic": 3, "openai-responses": 3}
"""Lines of an event with the blank one after it: counting lines takes a third of the time of counting events."""

_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:", b"\n", b"\r", b"\xef\xbb\xbf")
_ENDS: Mapping[Wire, re.Pattern[bytes]] = {
    "openai-chat": re.compile(rb'^data: ?\[DONE\]|"finish_reason"\s*:\s*"', re.MULTILINE),
    "anthropic": re.compile(rb"message_stop"),
    "openai-responses": re.compile(rb"response\.(?:completed|failed|incomplete)"),
}

_USUAL_ENDS: Mapping[Wire, bytes] = {
    "openai-chat": b"\ndata: [DONE]",
    "anthropic": b"event: message_stop",
    "openai-responses": b"event: response.completed",
}
"""The usual form of a good end, found faster than by an expression."""


class _Response(msgspec.Struct):
    """The response in the last event of a Responses stream."""

    error: msgspec.Raw = msgspec.Raw(b"")


class _Chunk(msgspec.Struct):
    """The fields that identify the extra chunk with the usage, and an error within a stream."""

    choices: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")
    type: str | None = None
    response: _Response | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


def starts_like_events(first: bytes) -> bool:
    """True if the first bytes of a response can be an event stream, whatever its headers say."""
    return first.startswith(_STARTS) or any(begin.startswith(first) for begin in _STARTS)


class StreamObserver:
    """The observer of one stream. `strip_usage`: the gateway asked for the usage and the client did not, so the extra
    chunk is removed."""

    def __init__(self, wire: Wire, *, strip_usage: bool) -> None:
        self._wire = wire
        self._strip_usage = strip_usage
        self._held = b""
        self._lone_returns: bool | None = None
        """True if lines end with CR alone; None until the first line has ended."""
        self._after_return = False
        self._recent: deque[bytes] = deque(maxlen=_RECENT)
        self.usage: Usage | None = None
        self.failed: bytes | None = None
        """The provider's error event, once it has sent one: for the log, never for the client."""
        self._lines = 0
        self.bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Returns the events that these bytes complete, as they came."""
        whole = self._take_complete(data)
        if not whole or self.failed is not None:
            return b""
        self.bytes += len(whole)
        self._lines += whole.count(b"\n")
        # Finding these words is faster than finding the marks they are part of, which end with a frequent character.
        if b"usage" in whole or b"error" in whole:
            whole = self._filter_events(whole)
        self._recent.append(whole)
        return whole

    def finish(self) -> bytes:
        """Returns the bytes held back, after the provider has ended its stream; none if the stream is broken.

        Clients ignore an event without a blank line after it: a complete one gets the line, a cut one is left out.
        """
        rest, self._held = self._held.rstrip(b"\r\n"), b""
        if self.failed is not None or not _is_complete(rest):
            return b""
        line_end = b"\r\n" if b"\r\n" in rest else b"\n"
        self._recent.append(rest)
        rest = self._filter_events(rest + line_end * 2)
        return rest if self.ended else b""

    @property
    def ended(self) -> bool:
        """True if the stream has its end mark; a stream without one was cut off."""
        pattern, last = _ENDS.get(self._wire), _USUAL_ENDS.get(self._wire, b"")
        if self.failed is not None:
            return False
        if pattern is None or any(last in piece for piece in reversed(self._recent)):
            return True
        return pattern.search(b"".join(self._recent)) is not None

    @property
    def output_estimate(self) -> int:
        """Tokens so far, for a stream without usage: the events, or a quarter of the bytes that are not their frame."""
        events = self._lines // _LINES.get(self._wire, 2)
        frames = events * _FRAME_BYTES.get(self._wire, 160)
        return max(events, (self.bytes - frames) // 4, 0)

    def _take_complete(self, data: bytes) -> bytes:
        if self._lone_returns is not False:
            data = self._with_line_feeds(data)
        if self._held:
            data, self._held = self._held + data, b""
        if data.endswith((b"\n\n", b"\r\n\r\n")):
            return data
        cut = max(_end_of_last(data, b"\n\n"), _end_of_last(data, b"\r\n\r\n") if b"\r" in data else 0)
        if len(data) - cut > MAX_HELD:
            return data
        self._held = data[cut:]
        return data[:cut]

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Returns the next bytes, with LF if lines end with CR alone."""
        if self._lone_returns is None:
            self._lone_returns = _has_lone_returns(self._held + data)
            if not self._lone_returns:
                return data
            data, self._held = self._held + data, b""
        elif self._after_return:
            data = data.removeprefix(b"\n")
        self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _filter_events(self, whole: bytes) -> bytes:
        """Returns the events without those that are not for the client. Only events with a mark in them are parsed."""
        kept: list[bytes] = []
        done, returns = 0, b"\r" in whole
        for at in _find_marks(whole):
            if at < done:
                continue
            begin = max(done, _end_of_last(whole, b"\n\n", done, at))
            end = _end_of_next(whole, b"\n\n", at)
            if returns:
                begin = max(begin, _end_of_last(whole, b"\r\n\r\n", done, at))
                end = min(end, _end_of_next(whole, b"\r\n\r\n", at))
            kept += (whole[done:begin], self._filter_event(whole[begin:end]))
            done = end
            if self.failed is not None:
                return b"".join(kept)
        return b"".join((*kept, whole[done:])) if done else whole

    def _filter_event(self, event: bytes) -> bytes:
        if (b'"error"' in event or b"event: error" in event) and self._is_error(event):
            self.failed = event
            return b""
        if _USAGE.search(event) and self._is_usage_only(event) and self._strip_usage:
            return b""
        return event

    def _is_error(self, event: bytes) -> bool:
        chunk = _decode_chunk(event)
        if chunk is None:
            return event.startswith(b"event: error")
        if self._wire == "openai-chat":
            return has_content(chunk.error)
        if chunk.type == "response.failed" and chunk.response is not None:
            # An error that is the request's own fault goes to the client unchanged.
            return is_provider_error(chunk.response.error)
        return chunk.type == "error"

    def _is_usage_only(self, event: bytes) -> bool:
        """Stores the usage of an event; returns True if the event has nothing else."""
        for data in _DATA.findall(event):
            try:
                counted = BODY.decode(data).reported_usage()
            except (msgspec.DecodeError, RecursionError):
                continue
            if counted is not None:
                self.usage = counted.usage(self.usage)
        chunk = _decode_chunk(event)
        return chunk is not None and bytes(chunk.choices) in (b"[]", b"null")


def _has_lone_returns(beginning: bytes) -> bool | None:
    """True if the first line ends with CR alone; None if more bytes are needed to know."""
    at, line_feed = beginning.find(b"\r"), beginning.find(b"\n")
    if at < 0 or 0 <= line_feed < at:
        return None if line_feed < 0 else False
    return None if at + 1 == len(beginning) else line_feed != at + 1


def _end_of_last(data: bytes, mark: bytes, since: int = 0, until: int | None = None) -> int:
    """Returns the end of the last `mark`; 0 without one."""
    at = data.rfind(mark, since, until)
    return 0 if at < 0 else at + len(mark)


def _end_of_next(data: bytes, mark: bytes, since: int) -> int:
    """Returns the end of the next `mark`; the end of the data without one."""
    at = data.find(mark, since)
    return len(data) if at < 0 else at + len(mark)


def _find_marks(data: bytes) -> list[int]:
    """Returns the positions of possible errors, and of usage that is not null; cheaper than an expression."""
    found = [at for at in _find_all(data, b'"usage"') if _USAGE.match(data, at)]
    for mark in (b'"error"', b"event: error"):
        found += _find_all(data, mark)
    return sorted(found)


def _find_all(data: bytes, mark: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + len(mark))


def _is_complete(event: bytes) -> bool:
    """True if the data of an event without its blank line is complete."""
    data = b"".join(_DATA.findall(event))
    return data.strip() == b"[DONE]" or _decode_chunk(event) is not None


def _decode_chunk(event: bytes) -> _Chunk | None:
    data = b"".join(_DATA.findall(event))
    try:
        return _CHUNK.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
