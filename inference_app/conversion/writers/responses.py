"""Steps as the Responses API: its events in the official order, numbered from 0, and the whole response.

Items follow each other under one `output_index` each. The input of a free-form tool stands as JSON inside the
arguments of the function that took its place, so it is shown in one delta when it is complete.
"""

from __future__ import annotations

from collections.abc import Callable

from inference_app.conversion import steps
from inference_app.conversion.failures import AnswerFailed
from inference_app.conversion.names import ToolNames
from inference_app.conversion.refused import response_error
from inference_app.conversion.steps import Json, Reason, Step
from inference_app.conversion.usage import Usage
from inference_app.conversion.writers.items import CallItem, CustomCallItem, Item, MessageItem, ReasoningItem
from inference_app.conversion.writers.response_shape import response_shape

_INCOMPLETE = {Reason.LENGTH: "max_output_tokens", Reason.CONTENT_FILTER: "content_filter"}


class ResponsesWriter:
    """Writes one answer for a client of the Responses API."""

    def __init__(self, request: Json, names: ToolNames, new_id: Callable[[str], str], now: Callable[[], float]) -> None:
        self._names = names
        self._new_id = new_id
        self._now = now
        self._response = response_shape(request, new_id("resp"), int(now()))
        self._output: list[Json] = []
        self._item: Item | None = None
        self._begun = False
        self._number = 0
        self._reason = Reason.STOP
        self._usage: Usage | None = None

    def write(self, step: Step) -> list[Json]:
        events = self._events(step)
        for event in events:
            event["sequence_number"] = self._number
            self._number += 1
        return events

    def whole(self) -> Json:
        if self._response["status"] not in ("completed", "incomplete"):
            raise AnswerFailed(steps.malformed())
        return self._response

    def _events(self, step: Step) -> list[Json]:
        match step:
            case steps.Began():
                self._response["model"] = step.model or self._response["model"]
                return self._first()
            case steps.Text():
                events, message = self._message()
                return [*events, *message.text(step.delta, step.logprobs)]
            case steps.Refusal():
                events, message = self._message()
                return [*events, *message.refusal(step.delta)]
            case steps.Reasoning():
                return self._thought(step.delta)
            case steps.CallBegan():
                return self._begin(self._call(step))
            case steps.CallInput():
                assert isinstance(self._item, CallItem)
                return self._item.input(step.delta)
            case steps.CallEnded():
                return self._close("completed" if step.complete else "incomplete")
            case steps.Stopped():
                self._reason = step.reason
                return [*self._first(), *self._close(self._item_status())]
            case steps.Used():
                self._usage = step.usage
            case steps.Over():
                return [self._ended("incomplete" if self._reason in _INCOMPLETE else "completed")]
            case steps.Failed():
                self._response["error"] = response_error(step)
                return [*self._first(), *self._close("incomplete"), self._ended("failed")]
        return []

    def _first(self) -> list[Json]:
        if self._begun:
            return []
        self._begun = True
        return [
            {"type": f"response.{state}", "response": {**self._response, "output": []}}
            for state in ("created", "in_progress")
        ]

    def _message(self) -> tuple[list[Json], MessageItem]:
        """The open message, and the events that opened it."""
        events: list[Json] = []
        if not isinstance(self._item, MessageItem):
            item = MessageItem(self._new_id("msg"), self._next())
            return self._begin(item), item
        return events, self._item

    def _thought(self, delta: str) -> list[Json]:
        events: list[Json] = []
        if not isinstance(self._item, ReasoningItem):
            events = self._begin(ReasoningItem(self._new_id("rs"), self._next()))
        assert isinstance(self._item, ReasoningItem)
        return [*events, *self._item.thought(delta)]

    def _call(self, step: steps.CallBegan) -> CallItem:
        origin = self._names.origin(step.name)
        kind = CustomCallItem if origin.custom or step.custom else CallItem
        return kind(self._new_id("ctc" if kind is CustomCallItem else "fc"), self._next(), step, origin)

    def _next(self) -> int:
        """The index of an item that begins now, which ends the open one."""
        return len(self._output) + (self._item is not None)

    def _begin(self, item: Item) -> list[Json]:
        events = [*self._first(), *self._close()]
        self._item = item
        return [*events, *item.opened()]

    def _close(self, status: str = "completed") -> list[Json]:
        item, self._item = self._item, None
        if item is None:
            return []
        events = item.closed(status)
        self._output.append(item.value)
        return events

    def _item_status(self) -> str:
        return "incomplete" if self._reason in _INCOMPLETE else "completed"

    def _ended(self, status: str) -> Json:
        self._response |= {"status": status, "output": self._output}
        if status == "incomplete":
            self._response["incomplete_details"] = {"reason": _INCOMPLETE[self._reason]}
        if status == "completed":
            self._response["completed_at"] = int(self._now())
        if self._usage is not None:
            self._response["usage"] = self._usage.as_responses()
        return {"type": f"response.{status}", "response": dict(self._response)}
