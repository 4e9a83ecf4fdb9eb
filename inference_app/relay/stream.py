"""A provider's stream of events as it passes: whole events go on untouched, usage and errors are read off them.

What has no blank line after it yet is held back, so that a stream which breaks in the middle of an event can still
be ended with one that a client can read. Only the few events that say `usage` or `error` are looked into. A stream
whose lines end with CR alone, which the standard allows and hardly anybody sends, goes on with LF.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping

import msgspec

from inference_app.catalogue.config import Wire
from inference_app.relay.answer_check import has_content, is_provider_error
from inference_app.spend.usage import BODY, Usage

MAX_HELD = 1024 * 1024
"""An event larger than this (an image) is handed on in pieces: holding it back would cost memory and time."""

_RECENT = 8
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_DATA = re.compile(rb"^data:[ ]?(.*?)\r?$", re.MULTILINE)
_FRAME_BYTES: Mapping[Wire, int] = {"openai-chat": 190, "anthropic": 130, "openai-responses": 200}
"""What an event weighs beside its text, to estimate a stream that nobody counted."""
_LINES: Mapping[Wire, int] = {"openai-chat": 2, "anthropic": 3, "openai-responses": 3}
"""Of an event, with the empty one after it: counted instead of events, in a third of the time."""

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
"""How a good end looks as a rule; found without an expression."""


class _Response(msgspec.Struct):
    """What a stream of the Responses API ends with."""

    error: msgspec.Raw = msgspec.Raw(b"")


class _Chunk(msgspec.Struct):
    """What tells the extra chunk with the usage, and an error in the midst of a stream."""

    choices: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")
    type: str | None = None
    response: _Response | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


def starts_like_events(first: bytes) -> bool:
    """Whether the first bytes of an answer can be a stream of events, whatever its headers say."""
    return first.startswith(_STARTS) or any(begin.startswith(first) for begin in _STARTS)


class StreamObserver:
    """`strip_usage`: the gateway asked for the usage and the client did not, so the extra chunk is taken out."""

    def __init__(self, wire: Wire, *, strip_usage: bool) -> None:
        self._wire = wire
        self._strip_usage = strip_usage
        self._held = b""
        self._lone_returns: bool | None = None
        """Whether lines end with CR alone; None until one has ended."""
        self._after_return = False
        self._recent: deque[bytes] = deque(maxlen=_RECENT)
        self.usage: Usage | None = None
        self.failed: bytes | None = None
        """The provider's error event, once it sent one: for the log, never for the client."""
        self._lines = 0
        self.bytes = 0

    def feed(self, data: bytes) -> bytes:
        """The events that are complete now, as they came."""
        whole = self._take_complete(data)
        if not whole or self.failed is not None:
            return b""
        self.bytes += len(whole)
        self._lines += whole.count(b"\n")
        # These two words are found sooner than the marks they are in, which end with a sign that is everywhere.
        if b"usage" in whole or b"error" in whole:
            whole = self._filter_events(whole)
        self._recent.append(whole)
        return whole

    def finish(self) -> bytes:
        """What was held back, when the provider has ended its stream; empty for a broken end.

        Clients read no event without a blank line after it: one that is whole gets it, one that was cut is left out.
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
        """Whether the stream said that it is over; one that just stops was cut off."""
        pattern, last = _ENDS.get(self._wire), _USUAL_ENDS.get(self._wire, b"")
        if self.failed is not None:
            return False
        if pattern is None or any(last in piece for piece in reversed(self._recent)):
            return True
        return pattern.search(b"".join(self._recent)) is not None

    @property
    def output_estimate(self) -> int:
        """Tokens so far, for a stream nobody counted: events, or a quarter of the bytes that are not their frame."""
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
        """The next bytes, with LF where lines end with CR alone."""
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
        """The events without those that the client is not to have; only those with a mark in them are taken out of
        the rest and read."""
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
            # What is the request's own fault goes to the client as it is.
            return is_provider_error(chunk.response.error)
        return chunk.type == "error"

    def _is_usage_only(self, event: bytes) -> bool:
        """Notes the usage of the event; whether there is nothing but usage in it."""
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
    """Whether the first line ends with CR alone; None when that cannot be told yet."""
    at, line_feed = beginning.find(b"\r"), beginning.find(b"\n")
    if at < 0 or 0 <= line_feed < at:
        return None if line_feed < 0 else False
    return None if at + 1 == len(beginning) else line_feed != at + 1


def _end_of_last(data: bytes, mark: bytes, since: int = 0, until: int | None = None) -> int:
    """Where the last `mark` ends; 0 without one."""
    at = data.rfind(mark, since, until)
    return 0 if at < 0 else at + len(mark)


def _end_of_next(data: bytes, mark: bytes, since: int) -> int:
    """Where the next `mark` ends; the data's end without one."""
    at = data.find(mark, since)
    return len(data) if at < 0 else at + len(mark)


def _find_marks(data: bytes) -> list[int]:
    """Where there may be an error, or usage that is not null; finding them costs less than an expression would."""
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
    """Whether the data of an event that lacks its end is all there."""
    data = b"".join(_DATA.findall(event))
    return data.strip() == b"[DONE]" or _decode_chunk(event) is not None


def _decode_chunk(event: bytes) -> _Chunk | None:
    data = b"".join(_DATA.findall(event))
    try:
        return _CHUNK.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
