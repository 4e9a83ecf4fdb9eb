"""The Responses API as steps: events of a stream, and whole responses.

Items of hosted tools have no words in other dialects and are passed over. Calls begin when their item is added and
end when it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inference_app.conversion.failures import provider_error
from inference_app.conversion.steps import (
    Began,
    CallBegan,
    CallEnded,
    CallInput,
    Failed,
    Json,
    Over,
    Reason,
    Reasoning,
    Refusal,
    Step,
    Stopped,
    Text,
    Used,
    cut_off,
    malformed,
)
from inference_app.conversion.usage import usage_of_responses

_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
_INPUTS = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
_ENDS = frozenset({"response.completed", "response.incomplete"})


class ResponsesReader:
    """Reads one answer of `openai-responses`."""

    def __init__(self) -> None:
        self._began = False
        self._called = False
        self._inputs: dict[Any, str] = {}
        self._over = False

    def read(self, event: Json) -> Iterator[Step]:
        """One event."""
        kind = event.get("type")
        if not self._began and isinstance(event.get("response"), dict):
            yield from self._begin(event["response"])
        if kind == "response.output_text.delta":
            yield Text(event["delta"], tuple(event.get("logprobs") or ()))
        elif kind in _THOUGHTS:
            yield Reasoning(event["delta"])
        elif kind == "response.reasoning_summary_part.added" and event.get("summary_index"):
            yield Reasoning("\n\n")
        elif kind == "response.refusal.delta":
            yield Refusal(event["delta"])
        elif kind in _INPUTS:
            yield from self._input(event)
        elif kind == "response.output_item.added":
            yield from self._added(event["output_index"], event["item"])
        elif kind == "response.output_item.done":
            yield from self._done(event["output_index"], event["item"])
        elif kind in _ENDS:
            yield from self._end(event["response"])
        elif kind in ("response.failed", "error"):
            yield _failed(event)

    def end(self) -> Iterator[Step]:
        if not self._over:
            yield cut_off()

    def answer(self, body: Json) -> Iterator[Step]:
        """A whole response."""
        if body.get("error") or body.get("status") == "failed":
            yield provider_error(body.get("error"))
            return
        if not isinstance(body.get("output"), list):
            yield malformed()
            return
        yield from self._begin(body)
        for index, item in enumerate(body["output"]):
            yield from self._whole(index, item)
        yield from self._end(body)

    def _begin(self, response: Json) -> Iterator[Step]:
        self._began = True
        created = response.get("created_at")
        known = int(created) if isinstance(created, int | float) else None
        yield Began(response.get("id"), response.get("model"), known)

    def _added(self, index: Any, item: Json) -> Iterator[Step]:
        if item.get("type") in _CALLS:
            self._called = True
            self._inputs[index] = ""
            yield CallBegan(item["call_id"], item["name"], item["type"] == "custom_tool_call")

    def _input(self, event: Json) -> Iterator[Step]:
        if event["output_index"] in self._inputs:
            self._inputs[event["output_index"]] += event["delta"]
            yield CallInput(event["delta"])

    def _done(self, index: Any, item: Json) -> Iterator[Step]:
        if index not in self._inputs:
            return
        had = self._inputs.pop(index)
        whole = item.get(_CALLS[item["type"]]) or ""
        if not had and whole:
            yield CallInput(whole)
        yield CallEnded()

    def _whole(self, index: int, item: Json) -> Iterator[Step]:
        if item.get("type") in _CALLS:
            yield from self._added(index, item)
            yield from self._done(index, item)
        elif item.get("type") == "reasoning":
            parts = item.get("summary") or item.get("content") or ()
            if thought := "\n\n".join(part["text"] for part in parts):
                yield Reasoning(thought)
        elif item.get("type") == "message":
            yield from self._message(item)

    def _message(self, item: Json) -> Iterator[Step]:
        for part in item.get("content") or ():
            if part.get("type") == "output_text" and part.get("text"):
                yield Text(part["text"], tuple(part.get("logprobs") or ()))
            elif part.get("type") == "refusal":
                yield Refusal(part["refusal"])

    def _end(self, response: Json) -> Iterator[Step]:
        self._over = True
        yield Stopped(self._reason(response))
        if (usage := usage_of_responses(response.get("usage"))) is not None:
            yield Used(usage)
        yield Over()

    def _reason(self, response: Json) -> Reason:
        if response.get("status") == "incomplete":
            why = (response.get("incomplete_details") or {}).get("reason")
            return Reason.CONTENT_FILTER if why == "content_filter" else Reason.LENGTH
        return Reason.TOOL_CALLS if self._called else Reason.STOP


def _failed(event: Json) -> Failed:
    response = event.get("response")
    return provider_error(response.get("error") if isinstance(response, dict) else event)
