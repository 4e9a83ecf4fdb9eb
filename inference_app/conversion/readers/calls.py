"""Chat's tool calls, which come in pieces under an index, as calls that follow each other.

The call that came first is handed on as it arrives. Pieces of another one wait until the first is complete, which
it is when its arguments are a JSON value, or when the stream ends: providers that mix the pieces of parallel calls
lose none. An id that is missing or was there before, in this answer or in the conversation, becomes a new one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from inference_app.conversion.steps import CallEnd, CallInput, CallStart, Json, Step

_INCOMPLETE = object()


@dataclass(slots=True)
class _Call:
    index: Any
    given_id: str
    name: str
    custom: bool
    pieces: list[str] = field(default_factory=list)
    started: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing can follow; a free-form input says nothing of its end."""
        return self.custom or _parse_json("".join(self.pieces)) is not _INCOMPLETE

    @property
    def has_object(self) -> bool:
        """Whether its arguments are an object already, behind which another one belongs to another call."""
        return not self.custom and isinstance(_parse_json("".join(self.pieces)), dict)


class CallSequencer:
    """The calls of one answer. `seen` says whether there was any; `taken` are ids of the conversation before it."""

    def __init__(self, new_id: Callable[[str], str], taken: Iterable[str] = ()) -> None:
        self._new_id = new_id
        self._ids: set[str] = set(taken)
        self._waiting: list[_Call] = []
        self.seen = False

    @property
    def complete(self) -> bool:
        """Whether no call lacks anything."""
        return all(call.complete for call in self._waiting)

    def read_deltas(self, deltas: Any) -> Iterator[Step]:
        """The steps that a delta's (or a whole message's) `tool_calls` make."""
        for position, delta in enumerate(deltas if isinstance(deltas, list) else ()):
            yield from self._take_delta(delta, position, alone=len(deltas) == 1)

    def end(self) -> Iterator[Step]:
        """Everything that still waits, in order."""
        while self._waiting:
            yield from self._close_first()

    def _take_delta(self, delta: Json, position: int, *, alone: bool) -> Iterator[Step]:
        called = delta.get("custom") or delta.get("function") or {}
        custom = delta.get("custom") is not None
        given_id, name = delta.get("id") or "", called.get("name") or ""
        piece = called.get("input") if custom else called.get("arguments")
        text = "" if not piece else piece if isinstance(piece, str) else json.dumps(piece)
        index = delta.get("index")
        if index is None:
            # A piece that says nothing of its call goes on with the newest.
            index = self._waiting[-1].index if alone and self._waiting and not name else position
        call = self._find_open(index, given_id, name, text)
        if call is None:
            call = _Call(index, given_id, name, custom)
            self._waiting.append(call)
            self.seen = True
        call.given_id, call.name = call.given_id or given_id, call.name or name
        if text:
            call.pieces.append(text)
        if call is self._waiting[0]:
            yield from self._emit_piece(call, text)
        while len(self._waiting) > 1 and self._waiting[0].complete:
            yield from self._close_first()

    def _find_open(self, index: Any, given_id: str, name: str, text: str) -> _Call | None:
        """The open call that a piece belongs to. Under the same index a name begins another call when it comes with
        another id, is another one, or arguments follow it though the call has its own; some repeat it in every piece.
        """
        call = next((call for call in reversed(self._waiting) if call.index == index), None)
        if call is None or not name or not call.name:
            return call
        if given_id and call.given_id and given_id != call.given_id:
            return None
        if name != call.name and not (given_id and given_id == call.given_id):
            return None
        return None if text.lstrip().startswith("{") and call.has_object else call

    def _emit_piece(self, call: _Call, text: str) -> Iterator[Step]:
        """What the first call has now; its beginning waits for its name."""
        if call.started:
            if text:
                yield CallInput(text)
        elif call.name:
            yield from self._emit_start(call)

    def _emit_start(self, call: _Call) -> Iterator[Step]:
        call.started = True
        call_id = call.given_id if call.given_id and call.given_id not in self._ids else self._new_id("call")
        self._ids.add(call_id)
        yield CallStart(call_id, call.name, call.custom)
        if call.pieces:
            yield CallInput("".join(call.pieces))

    def _close_first(self) -> Iterator[Step]:
        """Ends the first call, and shows what the next one has so far."""
        call = self._waiting.pop(0)
        if not call.started:
            yield from self._emit_start(call)
        if not call.custom and not "".join(call.pieces).strip():
            # A tool without parameters: clients parse the arguments all the same.
            call.pieces.append("{}")
            yield CallInput("{}")
        yield CallEnd(call.complete)
        if self._waiting and self._waiting[0].name:
            yield from self._emit_start(self._waiting[0])


def _parse_json(text: str) -> Any:
    """The JSON value; _INCOMPLETE where there is none yet."""
    try:
        return json.loads(text)
    except ValueError:
        return _INCOMPLETE
