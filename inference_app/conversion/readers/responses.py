"""Reader of the Responses API: stream events and complete responses, to steps.

Items of hosted tools are skipped, because other dialects cannot express them. A call starts when its item is added and
ends when the item is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inference_app.conversion.failures import provider_error
from inference_app.conversion.steps import (
    CallEnd,
    CallInput,
    CallStart,
    End,
    Failure,
    Finish,
    FinishReason,
    Json,
    Reasoning,
    Refusal,
    Start,
    Step,
    Text,
    UsageReport,
    cut_off_failure,
    malformed_failure,
)
from inference_app.conversion.usage import usage_of_responses

_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
_INPUTS = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
_ENDS = frozenset({"response.completed", "response.incomplete"})


class ResponsesReader:
    """Reader of one completion of the wire `openai-responses`."""

    def __init__(self) -> None:
        self._started = False
        self._has_calls = False
        self._inputs: dict[Any, str] = {}
        self._ended = False

    def read(self, event: Json) -> Iterator[Step]:
        """Yields the steps of one event."""
        kind = event.get("type")
        if not self._started and isinstance(event.get("response"), dict):
            yield from self._start_response(event["response"])
        if kind == "response.output_text.delta":
            yield Text(event["delta"], tuple(event.get("logprobs") or ()))
        elif kind in _THOUGHTS:
            yield Reasoning(event["delta"])
        elif kind == "response.reasoning_summary_part.added" and event.get("summary_index"):
            yield Reasoning("\n\n")
        elif kind == "response.refusal.delta":
            yield Refusal(event["delta"])
        elif kind in _INPUTS:
            yield from self._read_input(event)
        elif kind == "response.output_item.added":
            yield from self._start_call(event["output_index"], event["item"])
        elif kind == "response.output_item.done":
            yield from self._end_call(event["output_index"], event["item"])
        elif kind in _ENDS:
            yield from self._end_response(event["response"])
        elif kind in ("response.failed", "error"):
            yield _failure_of(event)

    def end(self) -> Iterator[Step]:
        if not self._ended:
            yield cut_off_failure()

    def read_body(self, body: Json) -> Iterator[Step]:
        """Yields the steps of a complete response."""
        if body.get("error") or body.get("status") == "failed":
            yield provider_error(body.get("error"))
            return
        if not isinstance(body.get("output"), list):
            yield malformed_failure()
            return
        yield from self._start_response(body)
        for index, item in enumerate(body["output"]):
            yield from self._read_item(index, item)
        yield from self._end_response(body)

    def _start_response(self, response: Json) -> Iterator[Step]:
        self._started = True
        created = response.get("created_at")
        known = int(created) if isinstance(created, int | float) else None
        yield Start(response.get("id"), response.get("model"), known)

    def _start_call(self, index: Any, item: Json) -> Iterator[Step]:
        if item.get("type") in _CALLS:
            self._has_calls = True
            self._inputs[index] = ""
            yield CallStart(item["call_id"], item["name"], item["type"] == "custom_tool_call")

    def _read_input(self, event: Json) -> Iterator[Step]:
        if event["output_index"] in self._inputs:
            self._inputs[event["output_index"]] += event["delta"]
            yield CallInput(event["delta"])

    def _end_call(self, index: Any, item: Json) -> Iterator[Step]:
        if index not in self._inputs:
            return
        had = self._inputs.pop(index)
        whole = item.get(_CALLS[item["type"]]) or ""
        if not had and whole:
            yield CallInput(whole)
        yield CallEnd()

    def _read_item(self, index: int, item: Json) -> Iterator[Step]:
        if item.get("type") in _CALLS:
            yield from self._start_call(index, item)
            yield from self._end_call(index, item)
        elif item.get("type") == "reasoning":
            parts = item.get("summary") or item.get("content") or ()
            if thought := "\n\n".join(part["text"] for part in parts):
                yield Reasoning(thought)
        elif item.get("type") == "message":
            yield from self._read_message(item)

    def _read_message(self, item: Json) -> Iterator[Step]:
        for part in item.get("content") or ():
            if part.get("type") == "output_text" and part.get("text"):
                yield Text(part["text"], tuple(part.get("logprobs") or ()))
            elif part.get("type") == "refusal":
                yield Refusal(part["refusal"])

    def _end_response(self, response: Json) -> Iterator[Step]:
        self._ended = True
        yield Finish(self._finish_reason(response))
        if (usage := usage_of_responses(response.get("usage"))) is not None:
            yield UsageReport(usage)
        yield End()

    def _finish_reason(self, response: Json) -> FinishReason:
        if response.get("status") == "incomplete":
            why = (response.get("incomplete_details") or {}).get("reason")
            return FinishReason.CONTENT_FILTER if why == "content_filter" else FinishReason.LENGTH
        return FinishReason.TOOL_CALLS if self._has_calls else FinishReason.STOP


def _failure_of(event: Json) -> Failure:
    response = event.get("response")
    return provider_error(response.get("error") if isinstance(response, dict) else event)
