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
from inference_app.relay.large_bodies import run_for_size
from tenants_app.numbers import MAX_TOKENS

MAX_VALUE_BYTES = 4096
"""The limit for a value that the gateway reads, such as the model's name."""

MAX_COMPLETIONS = 1000

_ESTIMATED_BYTES_PER_TOKEN = 4
_LIMIT_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
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
        if streamed not in (None, True, False):
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
        return self.size // _ESTIMATED_BYTES_PER_TOKEN + 1

    @property
    def output_bound(self) -> int | None:
        """The client's own limit for the tokens of one completion; None without one. Providers differ in the field that
        they read, so the largest counts."""
        values = [_value(self.fields, name) for name in _LIMIT_FIELDS]
        given = [value for value in values if isinstance(value, int) and value > 0]
        return min(max(given), MAX_TOKENS) if given else None

    @property
    def completions(self) -> int:
        """The number of completions that the client asks for."""
        number = _value(self.fields, "n")
        return min(number, MAX_COMPLETIONS) if isinstance(number, int) and number > 1 else 1

    def forget_body(self) -> None:
        """Frees the body, which nobody needs any more once a provider has begun to respond."""
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
    return await run_for_size(len(raw), Envelope.open, raw)


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
