"""Order of chat's messages: tool results directly follow the message with their calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference_app.conversion.validation import Json


def order_tool_results(messages: Sequence[Json]) -> list[Json]:
    """Moves each tool result up to its call; messages that were between them follow the results.

    Ids may repeat in a conversation: a call gets the first unused result after it.
    """
    if not any(message["role"] == "tool" for message in messages):
        return list(messages)
    ordered: list[Json] = []
    taken: set[int] = set()
    for position, message in enumerate(messages):
        if position in taken:
            continue
        ordered.append(message)
        if calls := message.get("tool_calls"):
            ordered += _take_results(messages, position, {call["id"] for call in calls}, taken)
    return ordered


def call_ids(messages: Sequence[Json]) -> Iterator[str]:
    """Yields the ids of all calls in the conversation."""
    for message in messages:
        for call in message.get("tool_calls") or ():
            yield call["id"]


def _take_results(messages: Sequence[Json], position: int, wanted: set[str], taken: set[int]) -> list[Json]:
    results = []
    for later in range(position + 1, len(messages)):
        message = messages[later]
        if not wanted:
            break
        if message["role"] == "tool" and later not in taken and message["tool_call_id"] in wanted:
            wanted.discard(message["tool_call_id"])
            taken.add(later)
            results.append(message)
    return results
