"""Sequencer of chat's tool calls, which arrive as deltas under an index and may be interleaved.

The deltas of the first open call are passed on at once. Deltas of other calls wait until the first is complete: its
arguments are a JSON value, or the stream ends. Thus nothing is lost if a provider interleaves parallel calls. A missing
id, or one used before in this completion or the conversation, is replaced by a new id.
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
    signature: str | None = None
    pieces: list[str] = field(default_factory=list)
    started: bool = False

    @property
    def complete(self) -> bool:
        """True if the call may be closed. A free-form call always may, because its input has no visible end."""
        return self.custom or _parse_json("".join(self.pieces)) is not _INCOMPLETE

    @property
    def has_object(self) -> bool:
        """True if the arguments are a complete object, so a further object belongs to another call."""
        return not self.custom and isinstance(_parse_json("".join(self.pieces)), dict)


class CallSequencer:
    """The tool calls of one completion. `seen` is true after the first call; `taken` has the ids of earlier calls."""

    def __init__(self, new_id: Callable[[str], str], taken: Iterable[str] = ()) -> None:
        self._new_id = new_id
        self._ids: set[str] = set(taken)
        self._waiting: list[_Call] = []
        self._closed: set[Any] = set()
        self.seen = False

    @property
    def complete(self) -> bool:
        """True if every open call is complete."""
        return all(call.complete for call in self._waiting)

    def read_deltas(self, deltas: Any, choice: int = 0) -> Iterator[Step]:
        """Yields the steps of the `tool_calls` of a delta or a complete message. Each choice has indexes of its own."""
        for position, delta in enumerate(deltas if isinstance(deltas, list) else ()):
            yield from self._take_delta(delta, position, choice, alone=len(deltas) == 1)

    def end(self) -> Iterator[Step]:
        """Yields the remaining steps of all open calls, in order."""
        while self._waiting:
            yield from self._close_first()

    def _take_delta(self, delta: Json, position: int, choice: int, *, alone: bool) -> Iterator[Step]:
        called = delta.get("custom") or delta.get("function") or {}
        custom = delta.get("custom") is not None
        given_id, name = delta.get("id") or "", called.get("name") or ""
        piece = called.get("input") if custom else called.get("arguments")
        text = "" if not piece else piece if isinstance(piece, str) else json.dumps(piece)
        index = delta.get("index")
        if index is None:
            # A delta without index and name continues the newest call.
            index = self._waiting[-1].index if alone and self._waiting and not name else (choice, position)
        else:
            index = (choice, index)
        call = self._find_open(index, given_id, name, text)
        if call is None and index in self._closed and not (name or given_id or text.strip()):
            # The rest of a call that other content has ended.
            return
        if call is None:
            call = _Call(index, given_id, name, custom, signature_of(delta))
            self._waiting.append(call)
            self.seen = True
        call.given_id, call.name = call.given_id or given_id, call.name or name
        call.signature = call.signature or signature_of(delta)
        if text:
            call.pieces.append(text)
        if call is self._waiting[0]:
            yield from self._emit_piece(call, text)
        while len(self._waiting) > 1 and self._waiting[0].complete:
            yield from self._close_first()

    def _find_open(self, index: Any, given_id: str, name: str, text: str) -> _Call | None:
        """Returns the open call of a delta, or None if the delta starts a call.

        Under the same index, a name starts another call if the id differs, the name differs without the same id, or
        arguments follow although the call has its own. A repeated name alone does not: some providers repeat it in
        every delta.
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
        """Yields the new arguments of the first call; its start waits for the name."""
        if call.started:
            if text:
                yield CallInput(text)
        elif call.name:
            yield from self._emit_start(call)

    def _emit_start(self, call: _Call) -> Iterator[Step]:
        call.started = True
        call_id = call.given_id if call.given_id and call.given_id not in self._ids else self._new_id("call")
        self._ids.add(call_id)
        yield CallStart(call_id, call.name, call.custom, call.signature)
        if call.pieces:
            yield CallInput("".join(call.pieces))

    def _close_first(self) -> Iterator[Step]:
        """Ends the first call and yields the buffered part of the next one."""
        call = self._waiting.pop(0)
        self._closed.add(call.index)
        if not call.started:
            yield from self._emit_start(call)
        if not call.custom and not "".join(call.pieces).strip():
            # A tool without parameters: clients parse the arguments anyway.
            call.pieces.append("{}")
            yield CallInput("{}")
        yield CallEnd(call.complete)
        if self._waiting and self._waiting[0].name:
            yield from self._emit_start(self._waiting[0])


def signature_of(delta: Json) -> str | None:
    """Returns Gemini's signature of a call, or of the text of a delta."""
    extra = delta.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def _parse_json(text: str) -> Any:
    """Returns the JSON value, or _INCOMPLETE if the text is not valid JSON yet."""
    try:
        return json.loads(text)
    except ValueError:
        return _INCOMPLETE
