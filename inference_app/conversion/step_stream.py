"""The steps of a streamed completion, for a reader that has no dialect of its own: the agent loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from core_app.errors import BadRequest
from core_app.ids import new_id as random_id
from inference_app.catalogue.config import Wire
from inference_app.conversion import exact_json
from inference_app.conversion.failures import CompletionError
from inference_app.conversion.readers.chat import ChatReader
from inference_app.conversion.readers.messages import MessagesReader
from inference_app.conversion.readers.responses import ResponsesReader
from inference_app.conversion.sse import DONE, EventParser, EventTooLarge
from inference_app.conversion.steps import Failure, Json, Reader, Step, malformed_failure

_SHAPE_ERRORS = (AttributeError, KeyError, TypeError, ValueError, IndexError)
"""Errors that a reader raises for JSON whose structure is not that of its wire."""


def wire_reader(wire: Wire, new_id: Callable[[str], str] = random_id) -> Reader:
    """Returns a reader of one completion of the wire."""
    if wire == "anthropic":
        return MessagesReader()
    return ResponsesReader() if wire == "openai-responses" else ChatReader(new_id)


class StepStream:
    """The steps of one completion of a wire, as its bytes come. Both methods raise CompletionError where the completion
    fails, after the steps before it."""

    def __init__(self, wire: Wire) -> None:
        self._reader = wire_reader(wire)
        self._events = EventParser()
        self._ended = False

    def feed(self, data: bytes) -> Iterator[Step]:
        """Yields the steps in these bytes, which may be split anywhere."""
        try:
            for event in self._events.feed(data):
                yield from self._read(event)
        except EventTooLarge:
            raise CompletionError(malformed_failure()) from None

    def finish(self) -> Iterator[Step]:
        """Yields the last steps."""
        for event in self._events.end():
            yield from self._read(event)
        if not self._ended:
            yield from _checked(self._reader.end())

    def _read(self, event: bytes) -> Iterator[Step]:
        if self._ended:
            return
        if event.strip() == DONE:
            self._ended = True
            yield from _checked(self._reader.end())
        else:
            yield from _checked(self._reader.read(_object(event)))


def _checked(steps: Iterable[Step]) -> Iterator[Step]:
    try:
        for step in steps:
            if isinstance(step, Failure):
                raise CompletionError(step)
            yield step
    except CompletionError:
        raise
    except _SHAPE_ERRORS:
        raise CompletionError(malformed_failure()) from None


def _object(data: bytes) -> Json:
    try:
        value = exact_json.decode(data)
    except BadRequest:
        raise CompletionError(malformed_failure()) from None
    if not isinstance(value, dict):
        raise CompletionError(malformed_failure())
    return value
