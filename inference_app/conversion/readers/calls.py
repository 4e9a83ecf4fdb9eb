"""Chat's tool calls, which come in pieces under an index, as calls that follow each other.

The call that came first is handed on as it arrives. Pieces of another one wait until the first is complete, which
it is when its arguments are a JSON value, or when the stream ends: providers that mix the pieces of parallel calls
lose none. An id that is missing or was there before becomes a new one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from inference_app.conversion.steps import CallBegan, CallEnded, CallInput, Json, Step


@dataclass(slots=True)
class _Call:
    index: Any
    given_id: str
    id: str
    name: str
    custom: bool
    pieces: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing can follow; a free-form input says nothing of its end."""
        if self.custom:
            return True
        try:
            json.loads("".join(self.pieces))
        except ValueError:
            return False
        return True


class Calls:
    """The calls of one answer. `seen` says whether there was any."""

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self._new_id = new_id
        self._ids: set[str] = set()
        self._waiting: list[_Call] = []
        self.seen = False

    @property
    def complete(self) -> bool:
        """Whether no call lacks anything."""
        return all(call.complete for call in self._waiting)

    def take(self, deltas: Any) -> Iterator[Step]:
        """The steps that a delta's (or a whole message's) `tool_calls` make."""
        for position, delta in enumerate(deltas if isinstance(deltas, list) else ()):
            yield from self._take(delta, position)

    def end(self) -> Iterator[Step]:
        """Everything that still waits, in order."""
        while self._waiting:
            yield from self._close()

    def _take(self, delta: Json, position: int) -> Iterator[Step]:
        called = delta.get("custom") or delta.get("function") or {}
        index = delta.get("index", position)
        call = self._known(index, delta.get("id") or "", bool(called.get("name")))
        if call is None:
            call = self._begin(index, delta, called)
            if call is self._waiting[0]:
                yield CallBegan(call.id, call.name, call.custom)
        piece = called.get("input") if call.custom else called.get("arguments")
        if piece:
            text = piece if isinstance(piece, str) else json.dumps(piece)
            call.pieces.append(text)
            if call is self._waiting[0]:
                yield CallInput(text)
        while len(self._waiting) > 1 and self._waiting[0].complete:
            yield from self._close()

    def _known(self, index: Any, given_id: str, named: bool) -> _Call | None:
        """The open call that a piece belongs to; another id with a name under the same index is another call."""
        call = next((call for call in reversed(self._waiting) if call.index == index), None)
        if call is not None and named and given_id and given_id != call.given_id:
            return None
        return call

    def _begin(self, index: Any, delta: Json, called: Json) -> _Call:
        given_id = delta.get("id") or ""
        call_id = given_id if given_id and given_id not in self._ids else self._new_id("call")
        self._ids.add(call_id)
        call = _Call(index, given_id, call_id, called.get("name") or "", delta.get("custom") is not None)
        self._waiting.append(call)
        self.seen = True
        return call

    def _close(self) -> Iterator[Step]:
        """Ends the first call, and shows what the next one has so far."""
        call = self._waiting.pop(0)
        if not call.custom and not "".join(call.pieces).strip():
            # A tool without parameters: clients parse the arguments all the same.
            call.pieces.append("{}")
            yield CallInput("{}")
        yield CallEnded(call.complete)
        if self._waiting:
            following = self._waiting[0]
            yield CallBegan(following.id, following.name, following.custom)
            if following.pieces:
                yield CallInput("".join(following.pieces))
