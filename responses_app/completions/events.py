"""The vocabulary of the stream of a background completion: the chunks of its dialect as they are sent, and marks.

A mark says what else may stand in the stream: that an attempt broke off and another one begins, and how it all ended.
The number of an event is its offset, so numbers begin at 1 and have no gap, whatever happens to workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from core_app import jsontext
from events_app.batches import StoredEvent
from events_app.types import Event, Vocabulary

Json = dict[str, Any]
Mark = Literal["chunk", "restart", "last", "error"]
"""`chunk`: an event of the dialect. `restart`: the attempt before it broke off, and its data is the error that says so.
`last`: the completion is whole. `error`: it failed or was cancelled, and its data is the error."""

ENDS = frozenset({"restart", "last", "error"})
"""Marks with which a reader's stream ends: behind a restart a reader begins again."""

MAX_JOINED_CHARACTERS = 32 * 1024

_START = b'{"mark":"'
_DATA = b'","data":'
_BLOCK_TEXTS: Mapping[str, str] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkEvent(Event):
    """One event; `data` is its object in the dialect, None for the end of a whole completion."""

    type: ClassVar[str] = "chunk"
    whole: ClassVar[bool] = True
    mark: Mark
    data: Mapping[str, Any] | None


class ChunkVocabulary(Vocabulary):
    """Encodes a mark and the object that is sent."""

    def write(self, event: Event, run_id: str | None, at: str) -> bytes:
        """The event's object; `split_event` takes it apart."""
        assert isinstance(event, ChunkEvent)
        return jsontext.encode({"mark": event.mark, "data": event.data})


KIND = "chunks"
CHUNK_EVENTS = ChunkVocabulary(KIND, [ChunkEvent])
"""The closed vocabulary of the streams of background completions."""


def split_event(event: StoredEvent) -> tuple[str, bytes]:
    """Returns the mark of an event and the JSON of its object, without decoding it."""
    end = event.data.index(b'"', len(_START))
    return event.data[len(_START) : end].decode(), event.data[end + len(_DATA) : -1]


def chunks_join(chunks: Sequence[Json]) -> list[Event]:
    """Returns the events to append, neighbouring pieces of the same text as one."""
    joined: list[Json] = []
    for chunk in chunks:
        if not joined or not _append_text(joined[-1], chunk):
            joined.append(_copied(chunk))
    return [ChunkEvent(mark="chunk", data=chunk) for chunk in joined]


def _append_text(last: Json, chunk: Json) -> bool:
    """Adds the text of a chunk to the one before it; False where anything but the text differs."""
    before, after = _text_of(last), _text_of(chunk)
    if before is None or after is None or before[0] != after[0]:
        return False
    _, holder, name = before
    _, more, _ = after
    if len(holder[name]) + len(more[name]) > MAX_JOINED_CHARACTERS:
        return False
    holder[name] += more[name]
    return True


def _text_of(chunk: Json) -> tuple[tuple[Any, ...], Json, str] | None:
    """Returns what the text of a chunk belongs to, and where it stands; None for a chunk that has anything else."""
    if chunk.get("type") == "content_block_delta":
        return _block_text(chunk)
    choices = chunk.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or chunk.get("usage") or not isinstance(choices[0], dict):
        return None
    choice: Json = choices[0]
    delta: Any = choice.get("delta")
    if choice.get("finish_reason") or choice.get("logprobs") or not isinstance(delta, dict):
        return None
    name = next((key for key in ("content", "reasoning_content") if isinstance(delta.get(key), str)), None)
    if name is None or any(value is not None for key, value in delta.items() if key not in (name, "role")):
        return None
    return ("chat", choice.get("index"), name), delta, name


def _block_text(event: Json) -> tuple[tuple[Any, ...], Json, str] | None:
    delta: Any = event.get("delta")
    name = _BLOCK_TEXTS.get(str(delta.get("type"))) if isinstance(delta, dict) else None
    if name is None or not isinstance(delta.get(name), str) or len(delta) != 2:
        return None
    return ("block", event.get("index"), name), delta, name


def _copied(chunk: Json) -> Json:
    """Returns a chunk whose text may be added to."""
    if isinstance(chunk.get("delta"), dict):
        return {**chunk, "delta": {**chunk["delta"]}}
    choices = chunk.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return chunk
    if not isinstance(choices[0].get("delta"), dict):
        return chunk
    return {**chunk, "choices": [{**choices[0], "delta": {**choices[0]["delta"]}}]}
