"""The body of a request, parsed no further than routing needs: its top-level fields as the bytes they came in.

Numbers, unknown fields, escapes and nested JSON are never decoded and encoded again. Only the model's name is replaced,
`stream_options.include_usage` added and an empty `tools` removed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from core_app.errors import BadRequest
from tenants_app.numbers import MAX_TOKENS

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ESTIMATED_BYTES_PER_TOKEN = 4
_SURROGATE = re.compile(rb"\\u[dD](?:([89abAB])|[c-fC-F])[0-9a-fA-F]{2}")
MAX_LONE_SURROGATES = 10_000
"""The limit of lone surrogates to replace: more are no accident, and replacing takes time."""

MAX_COMPLETIONS = 1000
_LIMIT_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_USAGE_OPTION = b'{"include_usage":true}'


@dataclass(slots=True)
class Envelope:
    """A parsed body. `fields` are raw JSON by name, in the order they came."""

    raw: bytes
    fields: Mapping[str, msgspec.Raw]
    model: str
    streamed: bool

    @classmethod
    def open(cls, raw: bytes) -> Envelope:
        """Parses a body; raises BadRequest if it is not a JSON object with a `model`."""
        try:
            raw, fields = _read_fields(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest("The body is not a valid JSON object.") from None
        model = _value(fields, "model")
        if not isinstance(model, str) or not model:
            raise BadRequest("'model' is required and must be a text.", field="model")
        streamed = _value(fields, "stream")
        if streamed not in (None, True, False):
            raise BadRequest("'stream' must be true or false.", field="stream")
        return cls(raw, fields, model, streamed is True)

    @property
    def wants_usage(self) -> bool:
        """True if the client itself asks for the chunk with the usage."""
        options = _value(self.fields, "stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def input_estimate(self) -> int:
        """Tokens of the request, estimated from its length: reserved, and charged if the provider reports no usage."""
        return len(self.raw) // _ESTIMATED_BYTES_PER_TOKEN + 1

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
        return self._rewrite(changes) if changes or self._model_may_come_twice() else self.raw

    def _model_may_come_twice(self) -> bool:
        """True if a second `model` is possible, perhaps with escaped letters. Readers differ in which of two counts, so
        the provider must get only the one that was read here."""
        return self.raw.count(b'"model"') > 1 or b"\\u006" in self.raw

    def _has_empty_tools(self) -> bool:
        tools = self.fields.get("tools")
        return tools is not None and len(tools) < 16 and _value(self.fields, "tools") == []

    def _usage_option(self) -> bytes:
        options = _value(self.fields, "stream_options")
        return orjson.dumps({**options, "include_usage": True}) if isinstance(options, dict) else _USAGE_OPTION

    def _rewrite(self, changes: Mapping[str, bytes | None]) -> bytes:
        parts: list[bytes | msgspec.Raw] = []
        for name, value in {**self.fields, **changes}.items():
            if value is not None:
                parts += (orjson.dumps(name), b":", value, b",")
        return b"".join((b"{", *parts[:-1], b"}"))


def _read_fields(raw: bytes) -> tuple[bytes, dict[str, msgspec.Raw]]:
    """Returns the body and its fields. JavaScript clients may write half of a surrogate pair, which other readers
    refuse: where it makes the body unreadable, it is replaced."""
    try:
        return raw, _FIELDS.decode(raw)
    except msgspec.DecodeError:
        if not 0 < raw.count(b"\\ud") + raw.count(b"\\uD") <= MAX_LONE_SURROGATES:
            raise
        whole = _replace_lone_surrogates(raw)
        return whole, _FIELDS.decode(whole)


def _replace_lone_surrogates(raw: bytes) -> bytes:
    """Returns the JSON with U+FFFD for every escaped surrogate without its other half."""
    parts: list[bytes] = []
    done = seen = 0
    first: re.Match[bytes] | None = None
    for found in _SURROGATE.finditer(raw):
        before = raw[seen : found.start()]
        seen = found.end()
        if (len(before) - len(before.rstrip(b"\\"))) % 2:
            continue
        if first is not None and not found[1] and first.end() == found.start():
            first = None
            continue
        for half in (first, None if found[1] else found):
            if half is not None:
                parts += (raw[done : half.start()], b"\\ufffd")
                done = half.end()
        first = found if found[1] else None
    if first is not None:
        parts += (raw[done : first.start()], b"\\ufffd")
        done = first.end()
    return b"".join((*parts, raw[done:]))


def _value(fields: Mapping[str, msgspec.Raw], name: str) -> Any:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        raise BadRequest(f"'{name}' is not valid JSON.", field=name) from None
