"""Token usage of one completion, in the format of each wire.

`input_tokens` includes cached tokens, as OpenAI counts; Anthropic's own figure excludes them. Missing counts are
zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CHAT = ("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details")
_RESPONSES = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts. `cached_tokens` and `cache_write_tokens` are part of the input, `reasoning_tokens` of the output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def as_chat(self) -> dict[str, Any]:
        """Returns chat's `usage`."""
        return self._openai(_CHAT)

    def as_responses(self) -> dict[str, Any]:
        """Returns the Responses API's `usage`, whose clients require `cache_write_tokens`."""
        usage = self._openai(_RESPONSES)
        usage["input_tokens_details"]["cache_write_tokens"] = self.cache_write_tokens
        return usage

    def as_messages(self) -> dict[str, Any]:
        """Returns Anthropic's `usage`, with null for counts that no other wire has; clients require the keys."""
        fresh = max(0, self.input_tokens - self.cached_tokens - self.cache_write_tokens)
        details = {"thinking_tokens": self.reasoning_tokens} if self.reasoning_tokens else None
        return {
            "input_tokens": fresh,
            "cache_creation": None,
            "cache_creation_input_tokens": self.cache_write_tokens,
            "cache_read_input_tokens": self.cached_tokens,
            "inference_geo": None,
            "output_tokens": self.output_tokens,
            "output_tokens_details": details,
            "server_tool_use": None,
            "service_tier": None,
        }

    def _openai(self, names: tuple[str, str, str, str]) -> dict[str, Any]:
        input_details: dict[str, int] = {"cached_tokens": self.cached_tokens}
        if self.cache_write_tokens:
            input_details["cache_write_tokens"] = self.cache_write_tokens
        return {
            names[0]: self.input_tokens,
            names[2]: input_details,
            names[1]: self.output_tokens,
            names[3]: {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.total_tokens,
        }


def usage_of_chat(usage: Any) -> Usage | None:
    """Parses chat's `usage`. DeepSeek sends `prompt_cache_hit_tokens` instead of details; xAI counts reasoning beside
    the output, not in it."""
    read = _of_openai(usage, _CHAT)
    if read is None:
        return None
    cached = read.cached_tokens or _count(usage, "prompt_cache_hit_tokens")
    beside = _count(usage, "total_tokens") - read.total_tokens
    extra = read.reasoning_tokens if 0 < read.reasoning_tokens <= beside else 0
    if not extra and cached == read.cached_tokens:
        return read
    output = read.output_tokens + extra
    return Usage(read.input_tokens, output, cached, read.cache_write_tokens, read.reasoning_tokens)


def merge_usage(known: Usage | None, later: Usage | None) -> Usage | None:
    """Returns both counts as one: the larger of each, because a later count may be partial."""
    if known is None or later is None or known == later:
        return later if known is None else known
    return Usage(*(max(getattr(known, name), getattr(later, name)) for name in Usage.__slots__))


def usage_of_responses(usage: Any) -> Usage | None:
    """Parses the Responses API's `usage`."""
    return _of_openai(usage, _RESPONSES)


def usage_of_messages(usage: Any) -> Usage | None:
    """Parses Anthropic's `usage`."""
    if not isinstance(usage, Mapping):
        return None
    cached, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    return Usage(
        input_tokens=_count(usage, "input_tokens") + cached + written,
        output_tokens=_count(usage, "output_tokens"),
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=_count(usage.get("output_tokens_details"), "thinking_tokens"),
    )


def _of_openai(usage: Any, names: tuple[str, str, str, str]) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    return Usage(
        input_tokens=_count(usage, names[0]),
        output_tokens=_count(usage, names[1]),
        cached_tokens=_count(usage.get(names[2]), "cached_tokens"),
        cache_write_tokens=_count(usage.get(names[2]), "cache_write_tokens"),
        reasoning_tokens=_count(usage.get(names[3]), "reasoning_tokens"),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, Mapping) else None
    return value if isinstance(value, int) and value > 0 else 0
