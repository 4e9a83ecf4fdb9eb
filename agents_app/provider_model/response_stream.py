"""A response of the relay as the agent library's stream: the steps of a completion become parts and their deltas."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic_ai._special_tokens import restore_special_tokens_in_stream
from pydantic_ai.messages import FinishReason, ModelResponseStreamEvent, PartStartEvent, TextPart, ThinkingPart
from pydantic_ai.models import StreamedResponse
from pydantic_ai.profiles import DEFAULT_THINKING_TAGS
from pydantic_ai.usage import RequestUsage

from agents_app.provider_model.profiles import Profile
from agents_app.provider_model.thinking import IN_TEXT, SEAL
from agents_app.ready_model import Feed
from inference_app.conversion import steps
from inference_app.conversion.failures import CompletionError
from inference_app.conversion.step_stream import StepStream
from inference_app.providers.retry_policy import Fault
from inference_app.relay.attempt import AttemptFailed
from inference_app.relay.response import RelayedResponse

Events = Iterable[ModelResponseStreamEvent]

_REASONS: Mapping[steps.FinishReason, FinishReason] = {
    steps.FinishReason.STOP: "stop",
    steps.FinishReason.LENGTH: "length",
    steps.FinishReason.TOOL_CALLS: "tool_call",
    steps.FinishReason.CONTENT_FILTER: "content_filter",
}
_OF_ALL = ("details", "google")
"""Formats of seals that come at the end, for everything before."""

_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")


@dataclass
class ResponseParts(StreamedResponse):
    """The stream of one response. It raises AttemptFailed where the provider breaks off.

    With `_feed`, each event goes there and only the first to the library: its way through the library's layers costs
    two locks and two cancel scopes, and nobody looks at it there. The parts are put together here in any case."""

    _response: RelayedResponse
    _profile: Profile
    _provider: str
    _model: str
    _feed: Feed | None = None
    _timestamp: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)
    _texts: int = field(default=0, init=False)
    _thoughts: int = field(default=0, init=False)
    _thought: tuple[str, int] | None = field(default=None, init=False)
    """The last thinking, if it has no seal yet."""
    _calls: int = field(default=0, init=False)
    _field: str | None = field(default=None, init=False)
    """The name of the field in which this provider has its reasoning; None on other wires and before the first."""
    _held: str = field(default="", init=False)
    """White space between two texts, until the second has begun."""
    _refusal: str = field(default="", init=False)

    def __post_init__(self) -> None:
        """Chooses the reader of each step."""
        self._steps = StepStream(self._response.wire)
        self._tags = self._profile.get("thinking_tags", DEFAULT_THINKING_TAGS)
        self._trims = bool(self._profile.get("ignore_streamed_leading_whitespace", False))
        self._readers: dict[type[steps.Step], Callable[[Any], Events]] = {
            steps.Start: self._read_start,
            steps.Text: self._read_text,
            steps.Reasoning: self._read_reasoning,
            steps.Seal: self._read_seal,
            steps.Refusal: self._read_refusal,
            steps.CallStart: self._read_call,
            steps.CallInput: self._read_input,
            steps.Finish: self._read_finish,
        }

    def __aiter__(self) -> AsyncIterator[ModelResponseStreamEvent]:
        """Returns the stream, see `_feed`."""
        if self._feed is None:
            return super().__aiter__()
        if self._event_iterator is None:
            self._event_iterator = self._feed_events(self._feed)
        return self._event_iterator

    async def _feed_events(self, feed: Feed) -> AsyncIterator[ModelResponseStreamEvent]:
        restored = restore_special_tokens_in_stream(
            self._get_event_iterator(), self._parts_manager.special_token_restorer
        )
        async for event in restored:
            if not await feed(event):
                return
            if self._first_chunk_monotonic is None:
                self._first_chunk_monotonic = time.perf_counter()
                yield event
        self._finished = True

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        response, data = self._response, self._response.first
        try:
            while data:
                if self._field is None:
                    self._learn_field(data)
                for event in self._events(self._steps.feed(data)):
                    yield event
                data = await response.more()
            if response.failure is not None:
                raise response.failure
            for event in self._events(self._steps.finish()):
                yield event
        except CompletionError as error:
            fault = Fault("garbage", error.failure.code, None if error.failure.status == 502 else error.failure.status)
            raise AttemptFailed(fault) from None
        finally:
            self._note_usage()

    def _events(self, found: Iterable[steps.Step]) -> Iterator[ModelResponseStreamEvent]:
        readers = self._readers
        for step in found:
            if (read := readers.get(type(step))) is not None:
                yield from read(step)

    def _read_start(self, step: steps.Start) -> Events:
        self._model = step.model or self._model
        self.provider_response_id = step.id
        return ()

    def _read_text(self, step: steps.Text) -> Iterator[ModelResponseStreamEvent]:
        begun = False
        for event in self._parts_manager.handle_text_delta(
            vendor_part_id=("text", self._texts),
            content=step.delta,
            thinking_tags=self._tags,
            ignore_leading_whitespace=self._trims,
        ):
            begun = True
            if isinstance(event, PartStartEvent):
                self._begin_text(event)
            yield event
        if not begun and self._trims and self._texts and step.delta.isspace():
            self._held += step.delta

    def _begin_text(self, event: PartStartEvent) -> None:
        self._thoughts += 1
        if isinstance(event.part, ThinkingPart):
            event.part.id, event.part.provider_name = IN_TEXT, self._provider
        elif isinstance(event.part, TextPart) and self._held:
            event.part.content, self._held = self._held + event.part.content, ""

    def _read_reasoning(self, step: steps.Reasoning) -> Iterator[ModelResponseStreamEvent]:
        for event in self._parts_manager.handle_thinking_delta(
            vendor_part_id=("thought", self._thoughts),
            content=step.delta,
            id=self._field,
            provider_name=self._provider,
        ):
            if isinstance(event, PartStartEvent):
                self._end_text()
                self._thought = ("thought", self._thoughts)
            yield event

    def _read_seal(self, step: steps.Seal) -> Iterator[ModelResponseStreamEvent]:
        """Adds the state that the provider wants back to the thinking before it, or to a part of its own."""
        thought, self._thought = self._thought, None
        if thought is None or (step.alone and step.value["format"] not in _OF_ALL):
            self._thoughts += 1
            thought = ("thought", self._thoughts)
        yield from self._parts_manager.handle_thinking_delta(
            vendor_part_id=thought,
            content="",
            provider_name=self._provider,
            provider_details={SEAL: step.value},
        )
        self._thoughts += 1

    def _read_refusal(self, step: steps.Refusal) -> Events:
        self._refusal += step.delta
        return ()

    def _read_call(self, step: steps.CallStart) -> Iterator[ModelResponseStreamEvent]:
        self._end_text()
        self._thoughts += 1
        self._calls += 1
        signed = {"extra_content": {"google": {"thought_signature": step.signature}}} if step.signature else None
        yield from self._parts_manager.handle_tool_call_delta_events(
            vendor_part_id=("call", self._calls),
            tool_name=step.name,
            args="",
            tool_call_id=step.id,
            provider_name=self._provider if signed else None,
            provider_details=signed,
        )

    def _read_input(self, step: steps.CallInput) -> Events:
        return self._parts_manager.handle_tool_call_delta_events(
            vendor_part_id=("call", self._calls), tool_name=None, args=step.delta, tool_call_id=None
        )

    def _read_finish(self, step: steps.Finish) -> Events:
        self.finish_reason = "content_filter" if self._refusal else _REASONS[step.reason]
        details: dict[str, Any] = {"refusal": self._refusal} if self._refusal else {"finish_reason": step.reason.value}
        if step.sequence is not None:
            details["stop_sequence"] = step.sequence
        self.provider_details = details
        return ()

    def _end_text(self) -> None:
        """Lets the next text be a part of its own, unless thinking in tags is open in this one."""
        part = self._parts_manager.get_part_by_vendor_id(("text", self._texts))
        if isinstance(part, TextPart):
            self._texts += 1

    def _learn_field(self, data: bytes) -> None:
        if self._response.wire == "openai-chat":
            self._field = next((name for name in self._fields if b'"%s":' % name.encode() in data), None)

    @property
    def _fields(self) -> Iterator[str]:
        if (own := self._profile.get("openai_chat_thinking_field")) is not None:
            yield own
        yield from _REASONING_FIELDS

    def _note_usage(self) -> None:
        usage = self._response.usage
        if usage is not None:
            self._usage = RequestUsage(
                input_tokens=usage.input,
                output_tokens=usage.output,
                cache_read_tokens=usage.cached,
                cache_write_tokens=usage.written + usage.written_hour,
                details={"reasoning_tokens": usage.reasoning},
            )

    async def close_stream(self) -> None:
        """Closes the provider's connection."""
        self._response.close()

    @property
    def model_name(self) -> str:
        """The model that the provider names."""
        return self._model

    @property
    def provider_name(self) -> str:
        """The configured provider."""
        return self._provider

    @property
    def provider_url(self) -> None:
        """None: the address is the operator's."""
        return

    @property
    def timestamp(self) -> datetime:
        """The time at which the response began."""
        return self._timestamp
