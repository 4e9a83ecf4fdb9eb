"""The observer of a provider's event stream: complete events pass unchanged; usage, errors and the end are read off.

Bytes without a blank line after them are held back, so that a stream which breaks within an event can still be ended
with an event that a client can read. The end is judged by events and never by words: every choice has its finish
reason, or the wire's own end event has come. Only events in which something may have happened are parsed; counting a
few words tells which. A stream whose lines end with CR alone, which the standard allows and hardly any provider sends,
continues with LF.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from inference_app.catalogue.config import Wire
from inference_app.relay.large_event import LargeEvent
from inference_app.relay.response_check import has_content, is_provider_error
from inference_app.relay.stream_events import (
    DATA,
    EVENT,
    RESPONSE,
    EventFields,
    choices_of,
    decode_event,
    is_complete,
    is_error_document,
    is_stopped,
)
from inference_app.spend.text_estimate import BYTES_PER_TOKEN, IN_ANSWERS, MEDIUM_TOKENS, media_of
from inference_app.spend.usage import ReportedUsage, Usage

MAX_HELD = 1024 * 1024
"""The longest event that is held back; a longer one (an image) passes in pieces, to save memory and time."""

MEDIA_FROM_BYTES = 4096
"""Pieces of this size may hold media, which count as such in the estimate."""

MAX_CHOICES = 128

_NAME = re.compile(rb"^event:[ ]?(.*?)\r?$", re.MULTILINE)
_BLANK = re.compile(rb"\n\r?\n")
_FRAME_BYTES: Mapping[Wire, int] = {"openai-chat": 190, "anthropic": 130, "openai-responses": 200}
"""Bytes of an event beside its text, for the estimate of a stream without usage."""

_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:", b"\n", b"\r", b"\xef\xbb\xbf")
_NULL_FINISH = re.compile(rb'finish_reason"\s*:\s*null')
_NULL_USAGE = re.compile(rb'usage"\s*:\s*null')
_ZERO_INDEX = re.compile(rb'"index"\s*:\s*0')

_ENDS: Mapping[Wire, tuple[bytes, ...]] = {
    "anthropic": (b"message_stop",),
    "openai-responses": (b"response.c", b"response.failed", b"response.incomplete"),
}
"""Words in the events that end a stream; chat's `[DONE]` has no `choices`, and so is looked at anyway."""

_KEYS: Mapping[Wire, bytes] = {"openai-chat": b'"choices"'}
_TYPE = b'data: {"type"'
"""A mark that every event of the wire has once: an event without it may be an error of any shape. `"type"` alone would
be in most events of the other wires more than once, and hide an event without it."""

_RESPONSE_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"})


PARSED_TOGETHER = 2
"""Events that are not taken apart by halves."""

LESSONS = 5
"""Chunks from which the shape of a provider's chunks is learnt; some have random members in each."""

NOTHING = b"\0"
"""A beginning that no event has."""

_DELTA_BEGIN = re.compile(rb'"delta"\s*:\s*\{')
_DELTA_EVENTS: Mapping[Wire, tuple[bytes, int, bytes]] = {
    "anthropic": (b"event: content_block_delta\ndata: ", 3, b"\ndata: "),
    "openai-responses": (b"event: response.output_text.delta\ndata: ", 3, b"\ndata: "),
}
"""The beginning of the most frequent events, their lines, and what is in each of them once."""

_UNFINISHED = (None, "", "null")
"""Finish reasons that are none; the last is what some providers write for it."""


def starts_like_events(first: bytes) -> bool:
    """True if the first bytes of a response can be an event stream, whatever its headers say."""
    return first.startswith(_STARTS) or any(begin.startswith(first) for begin in _STARTS)


class StreamObserver:
    """The observer of one stream. `strip_usage`: the gateway asked for the usage and the client did not, so the extra
    chunk is removed. `passes_failures`: the client has the provider's wire, so it may get a failed response that is the
    request's own fault."""

    def __init__(self, wire: Wire, *, strip_usage: bool, passes_failures: bool = True) -> None:
        self.wire = wire
        self._strip_usage = strip_usage
        self._passes_failures = passes_failures
        self._key = _KEYS.get(wire, _TYPE)
        self._ends = _ENDS.get(wire, ())
        self._held = b""
        self._large: LargeEvent | None = None
        self._lone_returns: bool | None = None
        """True if lines end with CR alone; None until the first line has ended."""
        self._after_return = False
        # The forms in which this provider writes that nothing has happened; they are learnt from its events.
        self._null_finish, self._null_usage, self._zero_index = b'finish_reason":null', b'usage":null', b'"index":0'
        self._choices: dict[int, bool] = {}
        """The choices that were seen in events that were parsed, and whether each has its finish reason."""
        self._reported: ReportedUsage | None = None
        self._over = False
        self._counted_whole = False
        self.failed: bytes | None = None
        """The provider's error event, once it has sent one: for the log, never for the client."""
        self.cut = False
        """True if the provider says that the stream is over, though a choice has no end."""
        self.ended_empty = False
        """True if the provider says that the stream is over, and there was no choice at all."""
        self._head, self._lines, self._once = _DELTA_EVENTS.get(wire, (NOTHING, 1, b"finish_reason"))
        self._tail = b"\n\n"
        self._lessons = LESSONS if wire == "openai-chat" else 0
        self._events = 0
        self._media_bytes = 0
        self._media_tokens = 0
        self.bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Returns the events that these bytes complete, as they came."""
        if self.failed is not None or self.cut:
            return b""
        if self._lone_returns is not False:
            data = self._with_line_feeds(data)
        return self._feed_lines(data) if self._large is None else self._feed_large(self._large, data)

    def finish(self) -> bytes:
        """Returns the bytes held back, after the provider has ended its stream; none if the stream is broken.

        Clients ignore an event without a blank line after it: a complete one gets the line, a cut one is left out.
        """
        rest, self._held = self._held.rstrip(b"\r\n"), b""
        if self._large is not None:
            self._end_large(self._large)
            return b"\n\n" if self.ended else b""
        if self.failed is not None or self.cut or not is_complete(rest):
            return b""
        line_end = b"\r\n" if b"\r\n" in rest else b"\n"
        rest = self._read_events(rest + line_end * 2)
        return rest if self.ended else b""

    @property
    def ended(self) -> bool:
        """True if the response is complete; a stream that ends without that was cut off."""
        if self.failed is not None or self.cut:
            return False
        return self._over or self._is_finished()

    @property
    def usage(self) -> Usage | None:
        """The usage that the provider has reported so far."""
        return None if self._reported is None else self._reported.usage()

    @property
    def counted_whole(self) -> bool:
        """True if the usage is that of the whole response, and not of what was written up to some event."""
        return self._counted_whole

    @property
    def output_estimate(self) -> int:
        """Tokens so far, for a stream without usage: the events, or a quarter of the bytes that are not their frame."""
        text = self.bytes - self._media_bytes - self._events * _FRAME_BYTES.get(self.wire, 160)
        return max(self._events, text // BYTES_PER_TOKEN, 0) + self._media_tokens

    def _feed_lines(self, data: bytes) -> bytes:
        if self._held:
            data, self._held = self._held + data, b""
        if data.endswith((b"\n\n", b"\r\n\r\n")):
            return self._pass(data)
        cut = max(_end_of_last(data, b"\n\n"), _end_of_last(data, b"\r\n\r\n") if b"\r" in data else 0)
        if len(data) - cut <= MAX_HELD:
            self._held = data[cut:]
            return self._pass(data[:cut]) if cut else b""
        whole = self._pass(data[:cut]) if cut else b""
        if self.failed is not None or self.cut:
            return whole
        self._large = LargeEvent(data[cut:])
        return whole + data[cut:]

    def _feed_large(self, large: LargeEvent, data: bytes) -> bytes:
        edge = large.edge
        if (blank := _BLANK.search(edge + data)) is None:
            large.add(data)
            return data
        end = blank.end() - len(edge)
        large.add(data[:end])
        self._end_large(large)
        return data[:end] + (self._feed_lines(data[end:]) if end < len(data) else b"")

    def _end_large(self, large: LargeEvent) -> None:
        self._large = None
        self._events += 1
        self._media_tokens += MEDIUM_TOKENS
        if self.wire == "openai-chat":
            self._choices[0] = self._choices.get(0, False) or large.finished
        elif self.wire == "openai-responses":
            self._over = self._over or large.kind in _RESPONSE_ENDS
        if large.reported is not None:
            self._reported = large.reported.merge(self._reported)
            self._counted_whole = self.ended

    def _pass(self, whole: bytes) -> bytes:
        """Returns complete events, without those that are not for the client."""
        count, size = whole.count, len(whole)
        if whole.startswith(self._head) and whole.endswith(self._tail):
            number, odd = divmod(count(b"\n"), self._lines)
            if (
                not odd
                and count(self._once) == number
                and size <= MEDIA_FROM_BYTES * number
                and (number == 1 or count(self._head) == count(self._tail) == number)
            ):
                self._events += number
                self.bytes += size
                return whole
        events = count(b"data:")
        self._events += events
        self.bytes += size
        if size > MEDIA_FROM_BYTES and (media := media_of(whole, IN_ANSWERS)).bytes:
            self._media_bytes += media.bytes
            self._media_tokens += media.tokens
        return self._filter(whole, events)

    def _filter(self, whole: bytes, events: int) -> bytes:
        """Parses the events in which something may have happened, which are told from many others by halves."""
        if self._is_plain(whole, events):
            if self._lessons:
                self._learn_shape(whole)
            return whole
        middle = _BLANK.search(whole, len(whole) // 2) if events > PARSED_TOGETHER else None
        if middle is None or middle.end() == len(whole):
            return self._read_events(whole)
        first, rest = whole[: middle.end()], whole[middle.end() :]
        passed = self._filter(first, first.count(b"data:"))
        if self.failed is not None or self.cut:
            return passed
        return passed + self._filter(rest, rest.count(b"data:"))

    def _is_plain(self, whole: bytes, events: int) -> bool:
        """True for events of which none can be an error, an end or a report of usage."""
        count = whole.count
        if b"error" in whole or count(self._key) < events or count(b"usage") != count(self._null_usage):
            return False
        if self.wire != "openai-chat":
            return not any(word in whole for word in self._ends)
        zeros = count(self._zero_index)
        if count(b"finish_reason") != count(self._null_finish) or count(b'"index"') != zeros:
            return False
        if zeros and 0 not in self._choices:
            self._choices[0] = False
        return True

    def _learn_shape(self, whole: bytes) -> None:
        """Learns what stands around the text in this provider's chunks: one that differs in its delta alone says no
        more, and is passed on at once. A second choice in it would have a finish reason of its own."""
        self._lessons -= 1
        blank = _BLANK.search(whole)
        event = whole if blank is None else whole[: blank.end()]
        begin = _DELTA_BEGIN.search(event)
        end = event.rfind(b"}", 0, max(0, event.rfind(self._null_finish)))
        if begin is not None and end >= begin.end() and event.startswith(b"data:"):
            self._head, self._tail, self._lines = event[: begin.end()], event[end:], event.count(b"\n")
            self._lessons = 0

    def _read_events(self, whole: bytes) -> bytes:
        kept: list[bytes] = []
        at, left_out = 0, False
        for blank in _BLANK.finditer(whole):
            event, at = whole[at : blank.end()], blank.end()
            passed = self._read_event(event)
            left_out = left_out or passed is not event
            kept.append(passed)
            if self.failed is not None or self.cut:
                return b"".join(kept)
        return whole if not left_out else b"".join((*kept, whole[at:]))

    def _read_event(self, event: bytes) -> bytes:
        """Reads one event; returns it, or nothing if it is not for the client."""
        lines = DATA.findall(event.removeprefix(b"\xef\xbb\xbf"))
        data, name = b"\n".join(lines).strip(), _NAME.search(event)
        is_error = name is not None and name[1] == b"error"
        if not data and not is_error:
            # Clients take an empty `data:` for broken JSON; comments and events without data are theirs to ignore.
            return b"" if lines else event
        if data == b"[DONE]":
            return self._read_done(event)
        chunk = decode_event(EVENT, data)
        if is_error or self._is_error(chunk, data):
            self.failed = event
            return b""
        return event if chunk is None else self._read_chunk(chunk, event)

    def _read_done(self, event: bytes) -> bytes:
        if self.wire == "openai-chat":
            self._over, self.ended_empty = self._is_finished(), not self._choices
            self.cut = not self._over and not self.ended_empty
        return b"" if self.cut else event

    def _read_chunk(self, chunk: EventFields, event: bytes) -> bytes:
        reported = chunk.reported_usage()
        if reported is not None:
            self._reported = reported.merge(self._reported)
        if self.wire == "openai-chat":
            if self._lessons:
                self._learn_forms(event)
            for choice in choices_of(chunk.choices):
                if len(self._choices) < MAX_CHOICES:
                    index = choice.index or 0
                    self._choices[index] = self._choices.get(index, False) or choice.finish_reason not in _UNFINISHED
            self._counted_whole = self._counted_whole or (reported is not None and self._is_finished())
            only_usage = reported is not None and bytes(chunk.choices) in (b"[]", b"null")
            return b"" if only_usage and self._strip_usage else event
        kind = bytes(chunk.type).strip(b'"').decode("latin-1")
        if self.wire == "anthropic":
            self._over = self._over or kind == "message_stop"
            stopped = kind == "message_delta" and has_content(chunk.delta) and is_stopped(chunk.delta)
            self._counted_whole = self._counted_whole or (stopped and reported is not None)
        elif kind in _RESPONSE_ENDS:
            self._over, self._counted_whole = True, reported is not None
        return event

    def _learn_forms(self, event: bytes) -> None:
        """Learns how this provider writes empty members, so that its next such event need not be parsed."""
        if (found := _NULL_FINISH.search(event)) is not None:
            self._null_finish = found[0]
        if (found := _NULL_USAGE.search(event)) is not None:
            self._null_usage = found[0]
        if (found := _ZERO_INDEX.search(event)) is not None:
            self._zero_index = found[0]

    def _is_error(self, chunk: EventFields | None, data: bytes) -> bool:
        if chunk is None:
            return data[:1] == b"[" and is_error_document(data)
        if self.wire == "openai-chat":
            if has_content(chunk.error):
                return True
            if len(chunk.choices):
                return b'"error"' in data and any(has_content(choice.error) for choice in choices_of(chunk.choices))
            return is_error_document(data)
        kind = bytes(chunk.type)
        if kind == b'"error"':
            return True
        if self.wire == "openai-responses" and kind == b'"response.failed"':
            response = decode_event(RESPONSE, chunk.response)
            return not self._passes_failures or (response is not None and is_provider_error(response.error))
        return not kind and (has_content(chunk.error) or is_error_document(data))

    def _is_finished(self) -> bool:
        return bool(self._choices) and all(self._choices.values())

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


def _has_lone_returns(beginning: bytes) -> bool | None:
    """True if the first line ends with CR alone; None if more bytes are needed to know."""
    at, line_feed = beginning.find(b"\r"), beginning.find(b"\n")
    if at < 0 or 0 <= line_feed < at:
        return None if line_feed < 0 else False
    return None if at + 1 == len(beginning) else line_feed != at + 1


def _end_of_last(data: bytes, mark: bytes) -> int:
    """Returns the end of the last `mark`; 0 without one."""
    at = data.rfind(mark)
    return 0 if at < 0 else at + len(mark)
