"""Chat's calls among its messages: a tool's results stand directly behind the message that called it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference_app.conversion.validation import Json


def order_tool_results(messages: Sequence[Json]) -> list[Json]:
    """The messages with every answer moved up to its call, and nothing else moved: what a client slipped in between
    comes after the results. Ids may repeat in a conversation; the first answer that is still free counts."""
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
    """The ids of all calls in the conversation."""
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
