"""Shortening of a conversation that is too long for its model.

The oldest prompts are dropped first, each with everything that followed it. When only the newest prompt is left, its
oldest responses are dropped, each with the results of its tool calls, so that no call loses its result. The newest
exchange always stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

CHARACTERS_PER_TOKEN = 4
"""Rough figure for any tokenizer. It only decides how much is dropped at once."""

ATTACHMENT_TOKENS = 1000

PART_CHARACTERS = 16
"""Counted for each message, call and result beside its text, where it is to fit a window: providers count about four
tokens."""

SUMMARY_INSTRUCTIONS = (
    "Summarize the conversation below for the assistant who will go on with it. Keep every fact, decision, name, "
    "number, result and open task; leave out greetings and repetitions. Answer with the summary alone."
)


@dataclass(frozen=True, slots=True)
class ShortenedConversation:
    """The result of shortening. `kept` begins with `lead` system messages, after which the `dropped` messages were;
    `kept_from` is the first kept message after them, not counting the prompt that it answers."""

    kept: list[ModelMessage]
    dropped: list[ModelMessage]
    kept_from: ModelMessage
    lead: int


def estimated_tokens(messages: Sequence[ModelMessage], *, per_message: int = 0) -> int:
    """Estimates the number of tokens of the messages. With `per_message` each part counts as at least so many, and
    with what it costs beside its text."""
    return sum(_size(message, per_message) for message in messages) // CHARACTERS_PER_TOKEN


def shorten(
    messages: Sequence[ModelMessage], target_tokens: int, *, per_message: int = 0
) -> ShortenedConversation | None:
    """Drops the oldest messages until about `target_tokens` are left, of which each part counts as at least
    `per_message`. Returns None when nothing may be dropped."""
    lead = next((i for i, message in enumerate(messages) if not _is_system(message)), len(messages))
    system, rest = list(messages[:lead]), list(messages[lead:])
    prompts = [index for index, message in enumerate(rest) if _is_prompt(message)]
    if len(prompts) > 1:
        at = _first_fitting_start(rest, prompts[1:], target_tokens * CHARACTERS_PER_TOKEN, per_message)
        return ShortenedConversation(system + rest[at:], rest[:at], rest[at], lead)
    start = prompts[0] + 1 if prompts else 0
    steps = [index for index, message in enumerate(rest) if index > start and isinstance(message, ModelResponse)]
    if not steps:
        return None
    leader = rest[:start]
    left = (target_tokens - estimated_tokens(leader, per_message=per_message)) * CHARACTERS_PER_TOKEN
    at = _first_fitting_start(rest, steps, left, per_message)
    return ShortenedConversation(system + leader + rest[at:], rest[start:at], rest[at], lead)


def transcript(messages: Sequence[ModelMessage], limit: int) -> str:
    """Returns the messages as text for a summary, without its middle when it exceeds `limit` characters."""
    text = "\n".join(_lines(messages))
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[…]\n{text[-half:]}"


def _first_fitting_start(
    rest: Sequence[ModelMessage], places: Sequence[int], target_characters: int, per_message: int
) -> int:
    """Returns the first of `places` from which the remainder fits the target, else the last one."""
    sizes = [_size(message, per_message) for message in rest]
    remaining = sum(sizes[places[0] :])
    for place, following in zip(places, [*places[1:], None], strict=True):
        if following is None or remaining < target_characters + CHARACTERS_PER_TOKEN:
            return place
        remaining -= sum(sizes[place:following])
    return places[-1]


def _is_system(message: ModelMessage) -> bool:
    return isinstance(message, ModelRequest) and all(isinstance(part, SystemPromptPart) for part in message.parts)


def _is_prompt(message: ModelMessage) -> bool:
    """True for a user's message without tool results. One with results belongs to the response before it."""
    return isinstance(message, ModelRequest) and (
        any(isinstance(part, UserPromptPart) for part in message.parts)
        and not any(isinstance(part, ToolReturnPart) for part in message.parts)
    )


def _size(message: ModelMessage, per_part: int) -> int:
    if not per_part:
        return sum(map(_part_size, message.parts))
    least = per_part * CHARACTERS_PER_TOKEN
    return sum(max(least, _part_size(part) + PART_CHARACTERS) for part in message.parts)


def _part_size(part: ModelRequestPart | ModelResponsePart) -> int:
    if isinstance(part, ToolCallPart):
        return _bytes(part.tool_name) + _bytes(part.args_as_json_str())
    content = getattr(part, "content", None)
    if isinstance(content, str):
        return _bytes(content)
    if not isinstance(content, Sequence):
        return 0
    return sum(_bytes(item) if isinstance(item, str) else ATTACHMENT_TOKENS * CHARACTERS_PER_TOKEN for item in content)


def _bytes(text: str) -> int:
    """Returns the bytes of the text in UTF-8: letters of other scripts than the Latin are dearer in about this way."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _lines(messages: Sequence[ModelMessage]) -> Iterator[str]:
    for message in messages:
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                texts = (
                    [part.content] if isinstance(part.content, str) else [c for c in part.content if isinstance(c, str)]
                )
                yield f"User: {' '.join(texts)}"
            elif isinstance(part, TextPart):
                yield f"Assistant: {part.content}"
            elif isinstance(part, ToolCallPart):
                yield f"Assistant calls {part.tool_name} {part.args_as_json_str()}"
            elif isinstance(part, ToolReturnPart):
                yield f"Result of {part.tool_name}: {part.model_response_str()}"
