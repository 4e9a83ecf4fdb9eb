"""The table of what each target takes: by wire, by shipped provider, by model, and what the operator adds.

A request that is legal in the client's dialect may have values that another provider refuses. Conversions adapt them
where the meaning stays the same, and otherwise refuse the request with the name of the field. Only rules that providers
are known to enforce are here. Later entries extend earlier ones: wire, provider, model, `limits` of the provider's
configuration, `limits` of the model's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core_app.lifecycle import process_wide

if TYPE_CHECKING:
    from inference_app.catalogue.config import ProviderEntry, Wire


MAX_REMEMBERED = 1024
"""Targets whose limits are kept; clients may send any name of a model."""


MediaKind = Literal["image", "audio", "file"]

MEDIA_KINDS: tuple[MediaKind, ...] = ("image", "audio", "file")


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CallIdForm(_Closed):
    """The form of a tool call's id: at most `length` characters, or exactly as many if `exact` (None: any number);
    letters, digits, `_` and `-`, or only letters and digits if `alphanumeric`."""

    length: int | None = Field(default=None, ge=9, le=1000)
    exact: bool = False
    alphanumeric: bool = False

    def accepts(self, call_id: str) -> bool:
        """True if a target with this form takes the id."""
        return self._pattern.fullmatch(call_id) is not None

    def accepts_all(self, call_ids: Iterable[str]) -> bool:
        """True if a target with this form takes all of the ids."""
        return all(map(self._pattern.fullmatch, call_ids))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        letters = "[A-Za-z0-9]" if self.alphanumeric else "[A-Za-z0-9_-]"
        if self.length is None:
            return re.compile(f"{letters}+")
        return re.compile(f"{letters}{{{self.length if self.exact else 1},{self.length}}}")


class Limits(_Closed):
    """Limits of one target. All fields are optional; those that are not set say that nothing is refused.

    - `minimum`, `maximum`: bounds of numbers; a value outside is replaced by the bound.
    - `exclusive`: pairs of fields of which the second is left out if both are given.
    - `refuses`: fields that are left out of converted requests.
    - `call_id`: the form of the ids of tool calls.
    - `tool_name_length`: the length of a tool's name.
    - `stops`: the number of stop sequences.
    - `blank_text`: false if text of white space alone is refused, in messages, `system` and stop sequences.
    - `prefill`: a last message of the assistant is sent as it is, without white space at its end (`trimmed`), or with
      `prefix: true` (`prefix`).
    - `image_types`, `document_types`: media types of inline data.
    - `user_length`: the length of `user` and `metadata.user_id`.
    - `schema_properties`: true if the schema of a tool's input must have `properties`.
    - `signatures`: false if `extra_content` of a call is refused; `required` if a call without a signature is.
    - `media`: the kinds of media that a message may have. A model's `capabilities` say it too.
    - `messages`: the number of messages in a conversation.
    - `calls_need_tools`: true if a conversation with calls is refused when the request declares no tools.

    The last three concern conversations that the gateway stores (`inference_app.conversion.stored_conversation`).
    """

    minimum: Mapping[str, float] = Field(default_factory=dict)
    maximum: Mapping[str, float] = Field(default_factory=dict)
    exclusive: tuple[tuple[str, str], ...] = ()
    refuses: tuple[str, ...] = ()
    call_id: CallIdForm | None = None
    tool_name_length: int | None = Field(default=None, ge=32)
    stops: int | None = Field(default=None, ge=1)
    blank_text: bool = True
    prefill: Literal["as_is", "trimmed", "prefix"] = "as_is"
    image_types: tuple[str, ...] | None = None
    document_types: tuple[str, ...] | None = None
    user_length: int | None = Field(default=None, ge=64)
    schema_properties: bool = False
    signatures: bool | Literal["required"] = True
    media: tuple[MediaKind, ...] | None = None
    messages: int | None = Field(default=None, ge=16)
    calls_need_tools: bool = False

    def extend(self, other: Limits | None) -> Limits:
        """Returns these limits with those of `other` over them; bounds and lists are joined."""
        if other is None or not other.model_fields_set:
            return self
        given: dict[str, Any] = {name: getattr(other, name) for name in other.model_fields_set}
        for name in ("minimum", "maximum"):
            if name in given:
                given[name] = {**getattr(self, name), **given[name]}
        for name in ("exclusive", "refuses"):
            if name in given:
                given[name] = tuple(dict.fromkeys((*getattr(self, name), *given[name])))
        return self.model_copy(update=given)


_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")

WIRE_LIMITS: Mapping[str, Limits] = {
    "openai-chat": Limits(user_length=64),
    "openai-responses": Limits(
        minimum={"max_output_tokens": 16},
        call_id=CallIdForm(length=64),
        user_length=64,
    ),
    "anthropic": Limits(
        minimum={"max_tokens": 1, "temperature": 0},
        maximum={"temperature": 1},
        call_id=CallIdForm(),
        tool_name_length=128,
        blank_text=False,
        prefill="trimmed",
        image_types=_IMAGES,
        document_types=("application/pdf", "text/plain"),
        user_length=256,
        media=("image", "file"),
        calls_need_tools=True,
    ),
    "demo": Limits(),
}
"""Rules that every provider of a wire is known to have."""

PROVIDER_LIMITS: Mapping[str, Limits] = {
    **dict.fromkeys(
        ("openai", "azure"),
        Limits(
            call_id=CallIdForm(length=40),
            stops=4,
            image_types=_IMAGES,
            schema_properties=True,
            signatures=False,
            messages=2048,
        ),
    ),
    # Its ids have nine letters and digits, its temperature ends at 1.5, and a prefill must be marked.
    "mistral": Limits(
        call_id=CallIdForm(length=9, exact=True, alphanumeric=True),
        maximum={"temperature": 1.5},
        prefill="prefix",
        signatures=False,
    ),
    "deepseek": Limits(stops=16, signatures=False),
    "qwen": Limits(signatures=False),
    "gemini": Limits(stops=5),
    "groq": Limits(stops=4, signatures=False),
    "xai": Limits(signatures=False),
    "together": Limits(signatures=False),
    "openrouter": Limits(call_id=CallIdForm(length=64), signatures=False),
}
"""Rules of shipped providers for their chat wire, beside those of `refuses` in their entries."""

_RESPONSES_PROVIDERS: Mapping[str, Limits] = {
    "openai": Limits(image_types=_IMAGES, schema_properties=True),
    "azure": Limits(image_types=_IMAGES, schema_properties=True),
}

_MODEL_LIMITS: tuple[tuple[str, re.Pattern[str], Limits], ...] = (
    # Claude from Opus 4.1 and Sonnet 4.5 on takes one of both.
    (
        "anthropic",
        re.compile(r"(?:.*[/.])?claude-(?:opus-4-[1-9](?!\d{7})|(?:sonnet|haiku)-4-[5-9]|[a-z]+-[5-9])"),
        Limits(exclusive=(("temperature", "top_p"),)),
    ),
    # Gemini from 3 on refuses a call of the conversation without its signature.
    ("openai-chat", re.compile(r"(?:models/|google/)?gemini-(?:[3-9]|\d\d)"), Limits(signatures="required")),
    # Reasoning models of OpenAI and xAI.
    ("openai-chat", re.compile(r"(?:openai/)?o\d"), Limits(refuses=("temperature", "top_p", "stop", "logprobs"))),
    ("openai-responses", re.compile(r"(?:openai/)?o\d"), Limits(refuses=("temperature", "top_p", "top_logprobs"))),
    ("openai-chat", re.compile(r"(?:openai/)?gpt-5(?!.*chat)"), Limits(refuses=("stop",))),
    (
        "openai-chat",
        re.compile(r"(?:x-ai/)?grok-(?:4|code|3-mini)"),
        Limits(refuses=("stop", "presence_penalty", "frequency_penalty")),
    ),
)


def target_limits(provider: str, entry: ProviderEntry, wire: Wire, model: str) -> Limits:
    """Returns the limits of a model at a provider, for one wire."""
    limits = WIRE_LIMITS[wire]
    for more in _layers(provider, entry, wire, model):
        limits = limits.extend(more)
    return limits


class TargetLimits:
    """The limits of the targets in use, merged once for one configuration."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], tuple[ProviderEntry, Limits]] = {}

    def limits(self, provider: str, entry: ProviderEntry, wire: Wire, model: str) -> Limits:
        """Returns `target_limits`."""
        known = self._known.get((provider, wire, model))
        if known is not None and known[0] is entry:
            return known[1]
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        limits = target_limits(provider, entry, wire, model)
        self._known[(provider, wire, model)] = entry, limits
        return limits


TARGET_LIMITS = process_wide(TargetLimits())
"""Process-wide instance."""


def _layers(provider: str, entry: ProviderEntry, wire: Wire, model: str) -> Iterator[Limits | None]:
    shipped = {"openai-chat": PROVIDER_LIMITS, "openai-responses": _RESPONSES_PROVIDERS}.get(wire, {})
    yield shipped.get(provider)
    for of_wire, pattern, limits in _MODEL_LIMITS:
        if of_wire == wire and pattern.match(model) and (provider != "openrouter" or limits.signatures is True):
            yield limits
    if entry.refuses:
        yield Limits(refuses=entry.refuses)
    known = entry.model(model)
    if known is not None and known.max_output_tokens is not None:
        yield Limits(maximum=dict.fromkeys(_OUTPUT_LIMITS, known.max_output_tokens))
    if known is not None and known.capabilities is not None:
        yield Limits(media=tuple(kind for kind in MEDIA_KINDS if kind in known.capabilities))
    yield entry.limits
    if known is not None:
        yield known.limits


_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
