"""Writer of the Responses API: steps to events in OpenAI's order, numbered from 0, and the complete response.

Items do not overlap and have one `output_index` each. A free-form tool is declared to other wires as a function whose
arguments wrap the input in JSON, so the input is written as one delta when it is complete.
"""

from __future__ import annotations

from collections.abc import Callable

from inference_app.conversion import steps
from inference_app.conversion.error_objects import response_error
from inference_app.conversion.failures import CompletionError
from inference_app.conversion.sealed_reasoning import seal_token
from inference_app.conversion.steps import FinishReason, Json, Step
from inference_app.conversion.tool_names import ToolNames
from inference_app.conversion.usage import Usage
from inference_app.conversion.writers.items import CallItem, CustomCallItem, Item, MessageItem, ReasoningItem
from inference_app.conversion.writers.response_shape import response_shape

_INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}


class ResponsesWriter:
    """Writer of one completion for a Responses client."""

    def __init__(self, request: Json, names: ToolNames, new_id: Callable[[str], str], now: Callable[[], float]) -> None:
        self.whole = False
        self._names = names
        self._new_id = new_id
        self._now = now
        self._response = response_shape(request, new_id("resp"), int(now()))
        self._output: list[Json] = []
        self._item: Item | None = None
        self._started = False
        self._number = 0
        self._reason = FinishReason.STOP
        self._usage: Usage | None = None
        self._length = self._part = 0

    def write(self, step: Step) -> list[Json]:
        events = self._write_step(step)
        if self.whole:
            return []
        for event in events:
            event["sequence_number"] = self._number
            self._number += 1
        return events

    def final_body(self) -> Json:
        if self._response["status"] not in ("completed", "incomplete"):
            raise CompletionError(steps.malformed_failure())
        return self._response

    def _write_step(self, step: Step) -> list[Json]:
        match step:
            case steps.Start():
                self._response["model"] = step.model or self._response["model"]
                return self._start_events()
            case steps.Text():
                events, message = self._open_message()
                events = [*events, *message.add_text(step.delta, step.logprobs, self._length)]
                self._length += len(step.delta)
                return events
            case steps.PartStart():
                self._part = self._length
            case steps.Citation():
                events, message = self._open_message()
                return [*events, *message.add_citation(step, self._part, self._length)]
            case steps.Refusal():
                events, message = self._open_message()
                return [*events, *message.add_refusal(step.delta)]
            case steps.Reasoning():
                return self._write_reasoning(step.delta)
            case steps.Seal():
                return self._write_seal(step)
            case steps.CallStart():
                return self._open_item(self._new_call(step))
            case steps.CallInput():
                assert isinstance(self._item, CallItem)
                return self._item.add_input(step.delta)
            case steps.CallEnd():
                return self._close_item("completed" if step.complete else "incomplete")
            case steps.Finish():
                self._reason = step.reason
                return [*self._start_events(), *self._close_item(self._item_status())]
            case steps.UsageReport():
                self._usage = step.usage
            case steps.End():
                return [self._end_response("incomplete" if self._reason in _INCOMPLETE else "completed")]
            case steps.Failure():
                self._response["error"] = response_error(step)
                return [*self._start_events(), *self._close_item("incomplete"), self._end_response("failed")]
        return []

    def _start_events(self) -> list[Json]:
        if self._started or self.whole:
            return []
        self._started = True
        return [
            {"type": f"response.{state}", "response": {**self._response, "output": []}}
            for state in ("created", "in_progress")
        ]

    def _open_message(self) -> tuple[list[Json], MessageItem]:
        """Returns the events that open a message, if none is open, and the message."""
        events: list[Json] = []
        if not isinstance(self._item, MessageItem):
            item = MessageItem(self._new_id("msg"), self._next_index())
            return self._open_item(item), item
        return events, self._item

    def _write_reasoning(self, delta: str) -> list[Json]:
        events: list[Json] = []
        if not isinstance(self._item, ReasoningItem):
            events = self._open_item(ReasoningItem(self._new_id("rs"), self._next_index()))
        assert isinstance(self._item, ReasoningItem)
        return [*events, *self._item.add_reasoning(delta)]

    def _write_seal(self, step: steps.Seal) -> list[Json]:
        """Returns the events that end a reasoning item, with the token that the client sends back."""
        events: list[Json] = []
        if step.alone or not isinstance(self._item, ReasoningItem):
            events = self._open_item(ReasoningItem(self._new_id("rs"), self._next_index()))
        assert isinstance(self._item, ReasoningItem)
        self._item.seal(seal_token(step.value))
        return [*events, *self._close_item()]

    def _new_call(self, step: steps.CallStart) -> CallItem:
        origin = self._names.origin(step.name)
        kind = CustomCallItem if origin.custom or step.custom else CallItem
        return kind(self._new_id("ctc" if kind is CustomCallItem else "fc"), self._next_index(), step, origin)

    def _next_index(self) -> int:
        """Returns the index of a new item, which closes the open one."""
        return len(self._output) + (self._item is not None)

    def _open_item(self, item: Item) -> list[Json]:
        events = [*self._start_events(), *self._close_item()]
        self._item = item
        return [*events, *item.open()]

    def _close_item(self, status: str = "completed") -> list[Json]:
        item, self._item = self._item, None
        if item is None:
            return []
        events = item.close(status)
        self._output.append(item.value)
        return events

    def _item_status(self) -> str:
        return "incomplete" if self._reason in _INCOMPLETE else "completed"

    def _end_response(self, status: str) -> Json:
        self._response |= {"status": status, "output": self._output}
        if status == "incomplete":
            self._response["incomplete_details"] = {"reason": _INCOMPLETE[self._reason]}
        if status == "completed":
            self._response["completed_at"] = int(self._now())
        if self._usage is not None:
            self._response["usage"] = self._usage.as_responses()
        return {"type": f"response.{status}", "response": dict(self._response)}
