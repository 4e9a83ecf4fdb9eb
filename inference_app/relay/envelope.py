"""The body of a request, parsed no further than routing needs: its top-level fields as the bytes they came in.

Numbers, unknown fields, escapes and nested JSON are never decoded and encoded again. Only the model's name is replaced,
`stream_options.include_usage` added and an empty `tools` removed; all other bytes stay, because providers' caches of
prompts go by them. Of a field that the gateway governs and that comes twice, readers differ in which one counts: the
last is read here, and the provider gets only that one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from core_app.errors import BadRequest
from core_app.surrogates import replace_lone_surrogates
from inference_app.relay.body_fields import (
    Fields,
    Span,
    Value,
    read_fields,
    repeated_names,
    spans,
    spelling_check,
    splice,
)
from inference_app.relay.large_bodies import AT_ONCE_BYTES, run_for_size
from inference_app.spend.text_estimate import Media, estimated_tokens, media_of
from tenants_app.numbers import MAX_TOKENS

MAX_VALUE_BYTES = 4096
"""The limit for a value that the gateway reads, such as the model's name."""

MAX_COMPLETIONS = 1000

_LIMIT_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_NUMBERS = (*_LIMIT_FIELDS, "n")
_USAGE_OPTION = b'{"include_usage":true}'


@dataclass(slots=True)
class Envelope:
    """A parsed body. `fields` are the values as JSON, by name; `written` are all fields in their order. `size` is the
    number of bytes, also after `forget_body`."""

    raw: bytes
    fields: Mapping[str, Value]
    written: Fields
    model: str
    streamed: bool
    size: int
    _media: Media | None = None

    @classmethod
    def open(cls, raw: bytes) -> Envelope:
        """Parses a body; raises BadRequest if it is not a JSON object with a `model`."""
        try:
            raw, written = _read(raw)
        except (ValueError, RecursionError):
            raise BadRequest("The body is not a valid JSON object.") from None
        fields = dict(written)
        spelling_check(fields)
        model = _value(fields, "model")
        if not isinstance(model, str) or not model:
            raise BadRequest("'model' is required and must be a text.", field="model")
        streamed = _value(fields, "stream")
        if streamed is not None and not isinstance(streamed, bool):
            # Some readers take 1 for true.
            raise BadRequest("'stream' must be true or false.", field="stream")
        return cls(raw, fields, written, model, streamed is True, len(raw))

    @property
    def wants_usage(self) -> bool:
        """True if the client itself asks for the chunk with the usage."""
        options = _value(self.fields, "stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def input_estimate(self) -> int:
        """Tokens of the request, estimated from its length: reserved, and charged if the provider reports no usage."""
        return estimated_tokens(self.size, self.media) + 1

    @property
    def media(self) -> Media:
        """Images, documents and audio in the body, which are no text."""
        if self._media is None:
            self._media = media_of(self.raw)
        return self._media

    def limits_check(self) -> None:
        """Raises BadRequest for a limit of tokens, or a number of completions, that is no whole number from 0 up. Some
        providers read "9" and 9.0 as 9, and a negative limit as none, so none of them could be reserved in a budget."""
        for name in _NUMBERS:
            value = _value(self.fields, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise BadRequest(f"'{name}' must be a whole number that is not negative.", field=name)

    @property
    def output_bound(self) -> int | None:
        """The client's own limit for the tokens of one completion; None without one. Providers differ in the field that
        they read, so the largest counts. Call `limits_check` first."""
        given = max(_value(self.fields, name) or 0 for name in _LIMIT_FIELDS)
        return min(given, MAX_TOKENS) or None

    @property
    def completions(self) -> int:
        """The number of completions that the client asks for. Call `limits_check` first."""
        return min(max(1, _value(self.fields, "n") or 1), MAX_COMPLETIONS)

    def forget_body(self) -> None:
        """Frees the body, which nobody needs any more once a provider has begun to respond."""
        self._media = self.media
        self.drop_body()

    def drop_body(self) -> None:
        """Frees the body without a look at what was in it, for a caller that does not estimate by it."""
        self.raw, self.fields, self.written = b"", {}, ()

    def value_of(self, name: str) -> Any:
        """Returns the decoded value of a field, None without it; raises BadRequest for a very long one."""
        return _value(self.fields, name)

    def with_value(self, name: str, value: bytes) -> Envelope:
        """Returns the request with another value of one field, as JSON."""
        return Envelope.open(self._rewrite({name: value}))

    def without(self, name: str) -> Envelope:
        """Returns the request without one field."""
        return Envelope.open(self._rewrite({name: None}))

    def body_for(
        self,
        model: str,
        *,
        include_usage: bool = False,
        leave_out: Collection[str] = (),
        limit: Mapping[str, int] | None = None,
    ) -> bytes:
        """Returns the body for a provider, without the fields of `leave_out` and with the field of `limit`; the same
        bytes if nothing changes."""
        changes: dict[str, bytes | None] = {name: None for name in leave_out if name in self.fields}
        changes |= {name: b"%d" % tokens for name, tokens in (limit or {}).items() if name not in leave_out}
        if model != self.model:
            changes["model"] = orjson.dumps(model)
        if self._has_empty_tools():
            changes["tools"] = changes["tool_choice"] = None
        if include_usage and not self.wants_usage:
            changes["stream_options"] = self._usage_option()
        return self._rewrite(changes)

    def _has_empty_tools(self) -> bool:
        tools = self.fields.get("tools")
        return tools is not None and len(tools) < 16 and _value(self.fields, "tools") == []

    def _usage_option(self) -> bytes:
        options = _value(self.fields, "stream_options")
        return orjson.dumps({**options, "include_usage": True}) if isinstance(options, dict) else _USAGE_OPTION

    def _rewrite(self, changes: Mapping[str, bytes | None]) -> bytes:
        repeated = len(self.fields) < len(self.written) and bool(repeated_names(self.written))
        if not changes and not repeated:
            return self.raw
        found = spans(self.raw, self.written)
        return splice(self.raw, list(found) if repeated else self._up_to_last(found, changes), changes)

    def _up_to_last(self, found: Iterator[Span], changes: Mapping[str, bytes | None]) -> Sequence[Span]:
        """Returns the first places, up to that of the last field of `changes`."""
        missing = {name for name in changes if name in self.fields}
        places: list[Span] = []
        while missing:
            places.append(next(found))
            missing.discard(places[-1].name)
        return places


async def open_envelope(raw: bytes) -> Envelope:
    """Parses a body, a large one off the loop; raises BadRequest."""
    return await run_for_size(len(raw), _open_whole, raw)


def _open_whole(raw: bytes) -> Envelope:
    envelope = Envelope.open(raw)
    if len(raw) > AT_ONCE_BYTES:
        # Here the search does not hold up the loop.
        envelope._media = media_of(envelope.raw)
    return envelope


def _read(raw: bytes) -> tuple[bytes, Fields]:
    """Returns the body and its fields. JavaScript clients may write half of a surrogate pair, which other readers
    refuse: where it makes the body unreadable, it is replaced."""
    try:
        return raw, read_fields(raw)
    except ValueError:
        whole = replace_lone_surrogates(raw)
        if whole is None:
            raise
    return whole, read_fields(whole)


def _value(fields: Mapping[str, Value], name: str) -> Any:
    raw = fields.get(name)
    if raw is None:
        return None
    if len(raw) > MAX_VALUE_BYTES:
        raise BadRequest(f"'{name}' is longer than {MAX_VALUE_BYTES} bytes.", field=name)
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        raise BadRequest(f"'{name}' is not valid JSON.", field=name) from None
