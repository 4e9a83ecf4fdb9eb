"""Cutting of tool results that are too large for their model's context.

The beginning and the end stay, and a sentence between them says what is left out and how to read it: with the built-in
tool `read_result`, from the stored result. A part carries the whole text along in its metadata, so that it can be cut
again for another model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelRequestPart, ToolReturnPart

from agents_app.context_room import ContextRoom
from tools_app.executors.read_result import NAME, PAGE_CHARACTERS

LEAST_CHARACTERS = 400
"""A shorter result stays as it is."""

_NOTE_CHARACTERS = 250
_WHOLE = "whole"


class ResultCutter:
    """Cuts the results of one leg. `readable`: the model can be offered `read_result`. `was_used` is true once a result
    was cut, from when on the tool is offered."""

    def __init__(self, *, readable: bool) -> None:
        self._readable = readable
        self.was_used = False

    def cut_messages(self, messages: Sequence[ModelMessage], room: ContextRoom) -> list[ModelMessage]:
        """Returns the messages with results that fit the room."""
        return [_changed(message, lambda parts: self.cut_parts(parts, room)) for message in messages]

    def cut_parts(self, parts: Sequence[ModelRequestPart], room: ContextRoom) -> list[ModelRequestPart]:
        """Returns the parts of one request with results that fit the room, each and together."""
        sizes = [len(whole_of(part)) for part in parts if isinstance(part, ToolReturnPart)]
        limit = max(LEAST_CHARACTERS, min(room.result_characters, _fair_share(sizes, room.response_characters)))
        return [self._cut(part, limit) if isinstance(part, ToolReturnPart) else part for part in parts]

    def tighten(self, messages: Sequence[ModelMessage]) -> list[ModelMessage] | None:
        """Returns the messages with their largest results cut to a quarter; None if none can be shorter."""
        largest = max((len(_text(part)) for message in messages for part in _results(message)), default=0)
        if largest <= LEAST_CHARACTERS:
            return None
        limit = max(LEAST_CHARACTERS, largest // 4)

        def cut(parts: Sequence[ModelRequestPart]) -> list[ModelRequestPart]:
            return [self._cut(part, limit) if _is_longer(part, limit) else part for part in parts]

        tighter = [_changed(message, cut) for message in messages]
        return tighter if cut_count(messages, tighter) else None

    def _cut(self, part: ToolReturnPart, limit: int) -> ToolReturnPart:
        whole = whole_of(part)
        short = whole if len(whole) <= limit else self._shortened(whole, part.tool_call_id, limit)
        if len(short) >= len(whole):
            return part if _text(part) == whole else replace(part, content=whole, metadata=None)
        self.was_used = True
        return replace(part, content=short, metadata={_WHOLE: whole})

    def _shortened(self, whole: str, call_id: str, limit: int) -> str:
        kept = max(LEAST_CHARACTERS // 2, limit - _NOTE_CHARACTERS)
        head, tail = kept - kept // 3, kept // 3
        note = f"{len(whole) - kept} of the {len(whole)} characters of this result are left out here."
        if self._readable:
            page = max(LEAST_CHARACTERS // 2, min(kept, PAGE_CHARACTERS))
            note += f' Read them with {NAME}: {{"call_id": "{call_id}", "offset": {head}, "length": {page}}}.'
        return f"{whole[:head]}\n[… {note} …]\n{whole[-tail:]}"


def whole_of(part: ToolReturnPart) -> str:
    """Returns the whole text of a result."""
    known: Any = part.metadata
    return str(known[_WHOLE]) if isinstance(known, dict) and _WHOLE in known else _text(part)


def cut_count(before: Sequence[ModelMessage], after: Sequence[ModelMessage]) -> int:
    """Counts the results that are shorter in `after` than in the same messages `before`."""
    pairs = zip(before, after, strict=True)
    return sum(
        len(_text(new)) < len(_text(old))
        for message, other in pairs
        for old, new in zip(_results(message), _results(other), strict=True)
    )


def _changed(
    message: ModelMessage, change: Callable[[Sequence[ModelRequestPart]], list[ModelRequestPart]]
) -> ModelMessage:
    return replace(message, parts=change(message.parts)) if isinstance(message, ModelRequest) else message


def _is_longer(part: ModelRequestPart, limit: int) -> TypeGuard[ToolReturnPart]:
    return isinstance(part, ToolReturnPart) and len(_text(part)) > limit


def _results(message: ModelMessage) -> list[ToolReturnPart]:
    return [part for part in message.parts if isinstance(part, ToolReturnPart)]


def _text(part: ToolReturnPart) -> str:
    return part.model_response_str()


def _fair_share(sizes: Sequence[int], budget: int) -> int:
    """Returns the largest length to which all may be cut so that they have `budget` characters together."""
    left = budget
    for index, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - index)
        if size > share:
            return share
        left -= size
    return budget
