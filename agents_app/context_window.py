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
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

CHARACTERS_PER_TOKEN = 4
"""Rough figure for any tokenizer. It only decides how much is dropped at once."""

ATTACHMENT_TOKENS = 1000

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


def estimated_tokens(messages: Sequence[ModelMessage]) -> int:
    """Estimates the number of tokens of the messages."""
    return sum(_characters(message) for message in messages) // CHARACTERS_PER_TOKEN


def shorten(messages: Sequence[ModelMessage], target_tokens: int) -> ShortenedConversation | None:
    """Drops the oldest messages until about `target_tokens` are left. Returns None when nothing may be dropped."""
    lead = next((i for i, message in enumerate(messages) if not _is_system(message)), len(messages))
    system, rest = list(messages[:lead]), list(messages[lead:])
    prompts = [index for index, message in enumerate(rest) if _is_prompt(message)]
    if len(prompts) > 1:
        at = _first_fitting_start(rest, prompts[1:], target_tokens, led_by=[])
        return ShortenedConversation(system + rest[at:], rest[:at], rest[at], lead)
    start = prompts[0] + 1 if prompts else 0
    steps = [index for index, message in enumerate(rest) if index > start and isinstance(message, ModelResponse)]
    if not steps:
        return None
    leader = rest[:start]
    at = _first_fitting_start(rest, steps, target_tokens, led_by=leader)
    return ShortenedConversation(system + leader + rest[at:], rest[start:at], rest[at], lead)


def transcript(messages: Sequence[ModelMessage], limit: int) -> str:
    """Returns the messages as text for a summary, without its middle when it exceeds `limit` characters."""
    text = "\n".join(_lines(messages))
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[…]\n{text[-half:]}"


def _first_fitting_start(
    rest: Sequence[ModelMessage], places: Sequence[int], target: int, *, led_by: Sequence[ModelMessage]
) -> int:
    """Returns the first of `places` from which the remainder fits the target, else the last one."""
    lead = estimated_tokens(led_by)
    sizes = [_characters(message) for message in rest]
    remaining = sum(sizes[places[0] :])
    for place, following in zip(places, [*places[1:], None], strict=True):
        if following is None or lead + remaining // CHARACTERS_PER_TOKEN <= target:
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


def _characters(message: ModelMessage) -> int:
    total = 0
    for part in message.parts:
        content = getattr(part, "content", None)
        if isinstance(part, ToolCallPart):
            total += len(part.tool_name) + len(part.args_as_json_str())
        elif isinstance(content, str):
            total += len(content)
        elif isinstance(content, Sequence):
            total += sum(
                len(item) if isinstance(item, str) else ATTACHMENT_TOKENS * CHARACTERS_PER_TOKEN for item in content
            )
    return total


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
