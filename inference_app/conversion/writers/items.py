"""Output items of a response while they are written. Each item returns the events that open, fill and close it.

`value` is the item as it appears in the response, complete after `close`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from core_app import jsontext
from core_app.errors import BadRequest
from inference_app.conversion.call_ids import sign_call_id
from inference_app.conversion.steps import CallStart, Citation, Json
from inference_app.conversion.tool_names import Origin


class Item(ABC):
    """Base class of output items."""

    def __init__(self, value: Json, index: int) -> None:
        self.value = value
        self._index = index

    def open(self) -> list[Json]:
        return [self._item_event("response.output_item.added")]

    @abstractmethod
    def close(self, status: str) -> list[Json]:
        """Returns the events that end the item."""

    def _item_event(self, kind: str) -> Json:
        copied = {name: list(value) if isinstance(value, list) else value for name, value in self.value.items()}
        return {"type": kind, "output_index": self._index, "item": copied}

    def _event(self, kind: str, **fields: object) -> Json:
        return {"type": kind, "item_id": self.value["id"], "output_index": self._index, **fields}


class MessageItem(Item):
    """A message item with parts of text and refusal."""

    def __init__(self, item_id: str, index: int) -> None:
        super().__init__(
            {"type": "message", "id": item_id, "status": "in_progress", "role": "assistant", "content": []}, index
        )
        self._parts: list[Json] = self.value["content"]
        self._part: Json | None = None
        self._pieces: list[str] = []
        self._start = 0

    def add_text(self, delta: str, logprobs: tuple[Json, ...], at: int) -> list[Json]:
        """Returns the events for a delta of text, which begins at the place `at` of the completion's text."""
        events, part = self._open_text(at)
        self._pieces.append(delta)
        part["logprobs"] += logprobs
        return [*events, self._part_event("response.output_text.delta", delta=delta, logprobs=list(logprobs))]

    def add_citation(self, citation: Citation, base: int, at: int) -> list[Json]:
        """Returns the events for a citation, whose places count from the place `base` of the completion's text."""
        events, part = self._open_text(at)
        places = [max(0, base + place - self._start) for place in (citation.start, citation.end)]
        found: Json = {"type": "url_citation", "url": citation.url, "title": citation.title}
        found |= {"start_index": places[0], "end_index": places[1]}
        number = len(part["annotations"])
        part["annotations"].append(found)
        kind = "response.output_text.annotation.added"
        return [*events, self._part_event(kind, annotation_index=number, annotation=dict(found))]

    def add_refusal(self, delta: str) -> list[Json]:
        """Returns the events for a delta of a refusal."""
        events, _ = self._open_part({"type": "refusal", "refusal": ""})
        self._pieces.append(delta)
        return [*events, self._part_event("response.refusal.delta", delta=delta)]

    def close(self, status: str) -> list[Json]:
        events = self._close_part()
        self.value["status"] = status
        return [*events, self._item_event("response.output_item.done")]

    def _open_text(self, at: int) -> tuple[list[Json], Json]:
        events, part = self._open_part({"type": "output_text", "text": "", "annotations": [], "logprobs": []})
        if events:
            self._start = at
        return events, part

    def _open_part(self, empty: Json) -> tuple[list[Json], Json]:
        """Returns the events that open a part of this type, if none is open, and the part."""
        if self._part is not None and self._part["type"] == empty["type"]:
            return [], self._part
        events = self._close_part()
        self._part, self._pieces = empty, []
        self._parts.append(empty)
        return [*events, self._part_event("response.content_part.added", part=_copy_part(empty))], empty

    def _close_part(self) -> list[Json]:
        part, self._part = self._part, None
        if part is None:
            return []
        part["refusal" if part["type"] == "refusal" else "text"] = "".join(self._pieces)
        if part["type"] == "refusal":
            done = self._part_event("response.refusal.done", refusal=part["refusal"])
        else:
            done = self._part_event("response.output_text.done", text=part["text"], logprobs=list(part["logprobs"]))
        return [done, self._part_event("response.content_part.done", part=_copy_part(part))]

    def _part_event(self, kind: str, **fields: object) -> Json:
        return self._event(kind, content_index=len(self._parts) - 1, **fields)


class ReasoningItem(Item):
    """A reasoning item with the reasoning as one summary part, where clients look for it. Sealed reasoning may have no
    text."""

    def __init__(self, item_id: str, index: int) -> None:
        super().__init__({"type": "reasoning", "id": item_id, "summary": [], "status": "in_progress"}, index)
        self._pieces: list[str] = []

    def add_reasoning(self, delta: str) -> list[Json]:
        """Returns the events for a delta of reasoning."""
        events: list[Json] = []
        if not self._pieces:
            part = {"type": "summary_text", "text": ""}
            events = [self._event("response.reasoning_summary_part.added", summary_index=0, part=part)]
        self._pieces.append(delta)
        return [*events, self._event("response.reasoning_summary_text.delta", summary_index=0, delta=delta)]

    def seal(self, token: str) -> None:
        """Keeps the state that the provider wants back."""
        self.value["encrypted_content"] = token

    def close(self, status: str) -> list[Json]:
        self.value["status"] = status
        if not self._pieces:
            return [self._item_event("response.output_item.done")]
        text = "".join(self._pieces)
        part = {"type": "summary_text", "text": text}
        self.value["summary"] = [part]
        return [
            self._event("response.reasoning_summary_text.done", summary_index=0, text=text),
            self._event("response.reasoning_summary_part.done", summary_index=0, part=dict(part)),
            self._item_event("response.output_item.done"),
        ]


class CallItem(Item):
    """A function call item."""

    def __init__(self, item_id: str, index: int, call: CallStart, origin: Origin) -> None:
        call_id = sign_call_id(call.id, call.signature) if call.signature else call.id
        super().__init__(self._new_value(item_id, call_id, origin), index)
        self._pieces: list[str] = []

    def add_input(self, delta: str) -> list[Json]:
        """Returns the events for a delta of the arguments."""
        self._pieces.append(delta)
        return [self._event("response.function_call_arguments.delta", delta=delta)]

    def close(self, status: str) -> list[Json]:
        raw = "".join(self._pieces)
        self.value |= {"arguments": raw, "status": status}
        done = self._event("response.function_call_arguments.done", arguments=raw, name=self.value["name"])
        return [done, self._item_event("response.output_item.done")]

    def _new_value(self, item_id: str, call_id: str, origin: Origin) -> Json:
        shape = {"type": "function_call", "id": item_id, "call_id": call_id, "name": origin.name, "arguments": ""}
        return {**shape, "status": "in_progress", **_namespace(origin)}


class CustomCallItem(CallItem):
    """A free-form call item. The wire's own free-form calls have plain input, the others input wrapped in JSON."""

    def __init__(self, item_id: str, index: int, call: CallStart, origin: Origin) -> None:
        super().__init__(item_id, index, call, origin)
        self._plain = call.custom

    def add_input(self, delta: str) -> list[Json]:
        self._pieces.append(delta)
        return []

    def close(self, status: str) -> list[Json]:
        raw = "".join(self._pieces)
        text = raw if self._plain else _unwrap_input(raw)
        self.value |= {"input": text, "status": status}
        delta = [self._event("response.custom_tool_call_input.delta", delta=text)] if text else []
        done = self._event("response.custom_tool_call_input.done", input=text)
        return [*delta, done, self._item_event("response.output_item.done")]

    def _new_value(self, item_id: str, call_id: str, origin: Origin) -> Json:
        shape = {"type": "custom_tool_call", "id": item_id, "call_id": call_id, "name": origin.name, "input": ""}
        return {**shape, "status": "in_progress", **_namespace(origin)}


def _namespace(origin: Origin) -> Json:
    return {} if origin.namespace is None else {"namespace": origin.namespace}


def _unwrap_input(arguments: str) -> str:
    """Returns the string in a function's arguments, or the arguments themselves if the model omitted the JSON."""
    try:
        value = jsontext.decode_untrusted(arguments.encode("utf-8", "replace"))
    except BadRequest:
        return arguments
    inner = value.get("input") if isinstance(value, dict) else value
    return inner if isinstance(inner, str) else arguments


def _copy_part(part: Json) -> Json:
    return {name: list(value) if isinstance(value, list) else value for name, value in part.items()}
