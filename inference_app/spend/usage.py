"""Usage as providers report it, read from the responses of every wire without decoding anything else.

`cached` tokens are part of the input, `reasoning` tokens of the output. Anthropic reports tokens read from and written
to its cache beside the input; here they are added to it. Providers report at several places and more than once in a
stream: counts are running totals, so reports are merged field by field and the larger one counts. Counts are bounded: a
provider may report any number, and one that the ledger cannot hold would keep the calls of others from being written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from tenants_app.numbers import bounded_tokens

_COUNTED = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one response. `estimated`: the provider did not report them. `written` are those that it wrote to its
    cache for minutes, `written_hour` for an hour; both are part of the input."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False
    written: int = 0
    written_hour: int = 0


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    thinking_tokens: int | None = None


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class ReportedUsage(msgspec.Struct):
    """The usage object of any wire; fields that a wire does not have are None."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None

    def is_empty(self) -> bool:
        """True if nothing was counted."""
        return (self.prompt_tokens or self.completion_tokens or self.input_tokens or self.output_tokens) is None and (
            all(getattr(self, name) is None for name in _COUNTED)
        )

    def merge(self, before: ReportedUsage | None) -> ReportedUsage:
        """Returns this report together with the stream's earlier ones."""
        return self if before is None else _merged(before, self)

    def usage(self) -> Usage:
        """Returns the counts."""
        if self.input_tokens is None and self.prompt_tokens is not None and self.completion_tokens is not None:
            return self._of_chat(self.prompt_tokens, self.completion_tokens)
        given, put_out = _largest(self.prompt_tokens, self.input_tokens), self._output()
        input_details = self.prompt_tokens_details or self.input_tokens_details
        read, written = self.cache_read_input_tokens, self.cache_creation_input_tokens
        hour = None
        if (made := self.cache_creation) is not None:
            hour = made.ephemeral_1h_input_tokens
            written = written or (made.ephemeral_5m_input_tokens or 0) + (hour or 0)
        total = bounded_tokens(given + (read or 0) + (written or 0))
        if input_details is not None:
            read = read or input_details.cached_tokens
            written = written or input_details.cache_write_tokens or input_details.cache_creation_tokens
        cached = min(max(0, read or self.prompt_cache_hit_tokens or self.cached_tokens or 0), total)
        written = min(max(0, written or 0), total - cached)
        hour = min(max(0, hour or 0), written)
        output = bounded_tokens(put_out)
        reasoning = min(bounded_tokens(self._reasoning()), output)
        return Usage(total, output, cached, reasoning, written=written - hour, written_hour=hour)

    def _of_chat(self, given: int, put_out: int) -> Usage:
        """Returns the counts of a chat completion, by far the most frequent shape."""
        details, total = self.prompt_tokens_details, bounded_tokens(given)
        cached = self.prompt_cache_hit_tokens or self.cached_tokens or 0
        written = 0
        if details is not None:
            cached = details.cached_tokens or cached
            written = details.cache_write_tokens or details.cache_creation_tokens or 0
        reasoning = self._reasoning()
        if reasoning or self.total_tokens != given + put_out:
            put_out = self._output()
        cached, output = min(max(0, cached), total), bounded_tokens(put_out)
        written = min(max(0, written), total - cached) if written else 0
        return Usage(total, output, cached, min(reasoning, output), written=written)

    def _output(self) -> int:
        """Returns the output with its reasoning, which some providers count beside it: the total shows that."""
        if self.completion_tokens is None:
            return max(0, self.output_tokens or 0)
        output, reasoning, given = max(0, self.completion_tokens), self._reasoning(), max(0, self.prompt_tokens or 0)
        if self.total_tokens is None or self.prompt_tokens is None:
            return output + reasoning if reasoning > output else output
        beside = self.total_tokens - given - output
        return output if beside <= 0 else output + (min(beside, reasoning) if reasoning else beside)

    def _reasoning(self) -> int:
        details = self.completion_tokens_details or self.output_tokens_details
        stated = self.reasoning_tokens
        if details is not None:
            stated = details.reasoning_tokens or details.thinking_tokens or stated
        return bounded_tokens(stated) if stated else 0


class _Holder(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw(b"")


class Body(msgspec.Struct):
    """A complete response or one event of a stream, reduced to the places in which providers report usage. A `usage`
    with members of other types than numbers needs a subclass in which it is `msgspec.Raw`."""

    usage: Any = None
    message: msgspec.Raw = msgspec.Raw(b"")
    response: msgspec.Raw = msgspec.Raw(b"")
    choices: msgspec.Raw = msgspec.Raw(b"")
    x_groq: msgspec.Raw = msgspec.Raw(b"")

    def reported_usage(self) -> ReportedUsage | None:
        """Returns what all places report together."""
        found: ReportedUsage | None
        found = self.usage
        if isinstance(found, msgspec.Raw):
            found = read_usage(found)
        if found is not None and not found.is_empty():
            return found
        for holder in (self.message, self.response, self.x_groq):
            if len(holder) > 2 and (inner := _decode(_HOLDER, holder)) is not None:
                found = _more(found, read_usage(inner.usage))
        if len(self.choices) > 2 and b'"usage"' in bytes(self.choices):
            for choice in _decode(_HOLDERS, self.choices) or ():
                found = _more(found, read_usage(choice.usage))
        return None if found is None or found.is_empty() else found


class LooseBody(Body):
    """A body whose usage may have members of any type."""

    usage: msgspec.Raw = msgspec.Raw(b"")


BODY = msgspec.json.Decoder(LooseBody)
_USAGE = msgspec.json.Decoder(ReportedUsage)
_HOLDER = msgspec.json.Decoder(_Holder)
_HOLDERS = msgspec.json.Decoder(list[_Holder])


def _decode(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None


def read_usage(raw: msgspec.Raw | bytes) -> ReportedUsage | None:
    """Returns a usage object; None if it is none. A member of another type than a number is left out."""
    if len(bytes(raw)) < 3 or bytes(raw)[:1] != b"{":
        return None
    try:
        return _USAGE.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        counts = _counts(msgspec.json.decode(raw))
        return msgspec.convert(counts, ReportedUsage) if counts else None
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None


def _counts(value: Any) -> dict[str, Any]:
    """Returns the members that are counts, and objects of them."""
    found: dict[str, Any] = {}
    for name, given in value.items() if isinstance(value, dict) else ():
        if isinstance(given, dict):
            found[name] = _counts(given)
        elif (count := _count(given)) is not None:
            found[name] = count
    return found


def _count(given: Any) -> int | None:
    if isinstance(given, str):
        return int(given) if given.isascii() and given.isdigit() and len(given) < 16 else None
    countable = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < 1e18
    return int(given) if countable else None


def _merged(before: Any, after: Any) -> Any:
    merged = {}
    for name in before.__struct_fields__:
        one, other = getattr(before, name), getattr(after, name)
        if one is None or other is None:
            merged[name] = one if other is None else other
        else:
            merged[name] = max(one, other) if isinstance(one, int) else _merged(one, other)
    return type(before)(**merged)


def _more(found: ReportedUsage | None, other: ReportedUsage | None) -> ReportedUsage | None:
    return found if other is None else other.merge(found)


def _largest(*values: int | None) -> int:
    return max((value for value in values if value is not None), default=0)
