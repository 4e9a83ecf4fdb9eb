"""The whole answer of a stream: what the API would have answered without streaming, built from its events.

Fields that the gateway does not know are kept. Texts are collected in pieces, because adding to a text again and again
costs the square of its length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from core_app import jsontext
from core_app.errors import BadRequest

Json = dict[str, Any]

_SET_ONCE = frozenset({"id", "type", "role", "name", "index", "format"})
"""Texts of a delta that some providers repeat; all others are pieces."""


class Answer(Protocol):
    """The answer of one attempt."""

    def add(self, event: Json) -> None:
        """Takes the next event."""

    def body(self) -> Json | None:
        """Returns the answer so far; None if nothing has come."""

    def text(self) -> str:
        """Returns its text."""


class _Pieces:
    """A text that grows."""

    def __init__(self, first: str) -> None:
        self.parts = [first]

    def __str__(self) -> str:
        return "".join(self.parts)


class ChatAnswer:
    """A chat completion from its chunks, with all its choices."""

    def __init__(self) -> None:
        self._fields: Json = {}
        self._choices: dict[int, Json] = {}

    def add(self, event: Json) -> None:
        for name, value in event.items():
            if name != "choices" and (value is not None or name not in self._fields):
                self._fields[name] = value
        for choice in event.get("choices") or ():
            if isinstance(choice, dict) and isinstance(index := choice.get("index") or 0, int):
                self._add_choice(self._choices.setdefault(index, {"message": {}}), choice)

    def body(self) -> Json | None:
        if not self._fields and not self._choices:
            return None
        choices = [_choice(index, self._choices[index]) for index in sorted(self._choices)]
        return {**self._fields, "object": "chat.completion", "choices": choices}

    def text(self) -> str:
        content = self._choices.get(0, {}).get("message", {}).get("content")
        return "" if content is None else str(content)

    def _add_choice(self, held: Json, choice: Json) -> None:
        for name, value in choice.items():
            if name == "delta":
                if isinstance(value, dict):
                    _merge(held["message"], value)
            elif name == "logprobs" and isinstance(value, dict):
                _merge(held.setdefault("logprobs", {}), value)
            elif name != "index" and value is not None:
                held[name] = value


def _choice(index: int, held: Json) -> Json:
    message = {"role": "assistant", "content": None, **_settled(held["message"])}
    for call in message.get("tool_calls") or ():
        call.pop("index", None)
    rest = {name: _settled(value) for name, value in held.items() if name != "message"}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None, **rest}


class MessageAnswer:
    """A message of Anthropic's API from its events."""

    def __init__(self) -> None:
        self._message: Json | None = None
        self._blocks: dict[int, Json] = {}
        self._inputs: dict[int, list[str]] = {}

    def add(self, event: Json) -> None:
        kind, index = event.get("type"), event.get("index")
        if kind == "message_start" and isinstance(event.get("message"), dict):
            self._message = {**event["message"]}
        elif kind == "content_block_start" and isinstance(index, int) and isinstance(event.get("content_block"), dict):
            self._blocks[index] = _growing(event["content_block"])
        elif kind == "content_block_delta" and isinstance(index, int) and isinstance(event.get("delta"), dict):
            self._add_delta(index, event["delta"])
        elif kind == "message_delta" and self._message is not None:
            self._message |= event.get("delta") or {}
            self._message["usage"] = {**(self._message.get("usage") or {}), **(event.get("usage") or {})}

    def body(self) -> Json | None:
        if self._message is None:
            return None
        return {**self._message, "content": [self._block(index) for index in sorted(self._blocks)]}

    def text(self) -> str:
        return "".join(str(block.get("text") or "") for block in self._blocks.values() if block.get("type") == "text")

    def _add_delta(self, index: int, delta: Json) -> None:
        block = self._blocks.setdefault(index, {})
        if delta.get("type") == "input_json_delta":
            self._inputs.setdefault(index, []).append(str(delta.get("partial_json") or ""))
        elif delta.get("type") == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
        else:
            _merge(block, {name: value for name, value in delta.items() if name != "type"})

    def _block(self, index: int) -> Json:
        block: Json = _settled(self._blocks[index])
        if raw := "".join(self._inputs.get(index, ())):
            block["input"] = _arguments(raw)
        return block


def new_answer(kind: str) -> Answer:
    """Returns an empty answer in the dialect of `kind`."""
    return MessageAnswer() if kind == "messages" else ChatAnswer()


def _arguments(raw: str) -> Any:
    try:
        return jsontext.decode_untrusted(raw.encode("utf-8", "replace"))
    except BadRequest:
        # As the conversions have it: the tool will refuse them.
        return {"invalid_json": raw}


def _growing(block: Mapping[str, Any]) -> Json:
    """Returns a block whose texts may be added to."""
    return {
        name: _Pieces(value) if isinstance(value, str) and name not in _SET_ONCE else value
        for name, value in block.items()
    }


def _merge(held: Json, delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        known = held.get(name)
        if known is None:
            held[name] = _taken(name, value)
        elif isinstance(known, _Pieces) and isinstance(value, str):
            known.parts.append(value)
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            _merge_list(known, value)
        elif name not in _SET_ONCE and value is not None:
            held[name] = _taken(name, value)


def _merge_list(held: list[Any], more: list[Any]) -> None:
    """Adds the members of a list; those with an index, such as tool calls, to the one that has it."""
    for value in more:
        index = value.get("index") if isinstance(value, dict) else None
        known = None
        if isinstance(index, int):
            known = next((one for one in held if isinstance(one, dict) and one.get("index") == index), None)
        if known is None:
            held.append(_taken("", value))
        else:
            _merge(known, value)


def _taken(name: str, value: Any) -> Any:
    if isinstance(value, str) and name not in _SET_ONCE:
        return _Pieces(value)
    if isinstance(value, dict):
        return {key: _taken(key, inner) for key, inner in value.items()}
    if isinstance(value, list):
        made: list[Any] = []
        _merge_list(made, value)
        return made
    return value


def _settled(value: Any) -> Any:
    if isinstance(value, _Pieces):
        return str(value)
    if isinstance(value, dict):
        return {name: _settled(inner) for name, inner in value.items()}
    return [_settled(inner) for inner in value] if isinstance(value, list) else value
