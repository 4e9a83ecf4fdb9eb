"""Usage as providers report it, read from the responses of every wire without decoding anything else.

`cached` tokens are part of the input, `reasoning` tokens of the output. Anthropic reports tokens read from and written
to its cache beside the input; here they are added to it. Counts are bounded: a provider may report any number, and one
that the ledger cannot hold would keep the calls of others from being written.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tenants_app.numbers import bounded_tokens


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one response. `estimated`: the provider did not report them."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class ReportedUsage(msgspec.Struct):
    """The usage object of any wire; fields that a wire does not have are None."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None

    def usage(self, before: Usage | None = None) -> Usage:
        """Returns one value; `before` is the stream's earlier report (Anthropic sends input first, output last)."""
        if before is None and self.prompt_tokens is not None and self.completion_tokens is not None:
            return self._of_chat(self.prompt_tokens, self.completion_tokens)
        read, written = self.cache_read_input_tokens, self.cache_creation_input_tokens
        cached = _first_known(read, _cached_of(self.prompt_tokens_details), _cached_of(self.input_tokens_details))
        cached = _first_known(cached, self.prompt_cache_hit_tokens)
        given = _first_known(self.prompt_tokens, self.input_tokens)
        taken_in = None if given is None else given + (read or 0) + (written or 0)
        put_out = _first_known(self.completion_tokens, self.output_tokens)
        reasoning = _first_known(
            _reasoning_of(self.completion_tokens_details), _reasoning_of(self.output_tokens_details)
        )
        earlier = before or Usage(0, 0)
        total = bounded_tokens(_first_known(taken_in, earlier.input) or 0)
        return Usage(
            input=total,
            output=bounded_tokens(_first_known(put_out, earlier.output) or 0),
            cached=min(max(0, _first_known(cached, earlier.cached) or 0), total),
            reasoning=bounded_tokens(_first_known(reasoning, earlier.reasoning) or 0),
        )

    def _of_chat(self, given: int, put_out: int) -> Usage:
        """Returns the usage of a chat completion, by far the most frequent shape."""
        details, thought = self.prompt_tokens_details, self.completion_tokens_details
        cached = self.prompt_cache_hit_tokens if details is None else details.cached_tokens
        reasoning = None if thought is None else thought.reasoning_tokens
        given = bounded_tokens(given)
        cached = min(max(0, cached or 0), given)
        return Usage(given, bounded_tokens(put_out), cached, bounded_tokens(reasoning or 0))


class _Message(msgspec.Struct):
    usage: ReportedUsage | None = None


class Body(msgspec.Struct):
    """A complete response or one event of a stream, reduced to its usage."""

    usage: ReportedUsage | None = None
    message: _Message | None = None
    response: _Message | None = None
    input_tokens: int | None = None

    def reported_usage(self) -> ReportedUsage | None:
        """Returns the usage object from the field in which the wire has it."""
        for holder in (self, self.message, self.response):
            if holder is not None and holder.usage is not None:
                return holder.usage
        return None


BODY = msgspec.json.Decoder(Body)


def _cached_of(details: _InputDetails | None) -> int | None:
    return None if details is None else details.cached_tokens


def _reasoning_of(details: _OutputDetails | None) -> int | None:
    return None if details is None else details.reasoning_tokens


def _first_known(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
