"""Conversion of a model response that is being streamed into session events: cleaned text and thinking, in order.

With a response format, text is held back until `release`, because clients must not see an answer that is refused and
requested again.
"""

from __future__ import annotations

from pydantic_ai.messages import (
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)

from agents_app.engine import Leg
from agents_app.events import MessageDelta, MessageStart, ThinkingDelta, ThinkingStart
from agents_app.request_spend import RequestSpending
from core_app.jsontext import clean_text

MAX_CALLS = 128
"""Limit of tool calls in one response. A model that exceeds it is assumed to be in a loop."""


class ResponseStream:
    """The events of one response. `began` is true from its first byte on, after which there is no retry."""

    def __init__(self, leg: Leg, message_id: str, spending: RequestSpending, *, hold: bool) -> None:
        self._leg = leg
        self._spending = spending
        self._message_id = message_id
        self._hold = hold
        self._started = False
        self._calls = 0
        self.began = False

    @property
    def has_too_many_calls(self) -> bool:
        """True when the response has more tool calls than MAX_CALLS, so that reading it should stop."""
        return self._calls > MAX_CALLS

    async def feed(self, event: ModelResponseStreamEvent) -> bool:
        """Emits the session events for one event of the library, if there are any. Returns false if the response should
        be read no further."""
        self.began = True
        if isinstance(event, PartDeltaEvent):
            delta = event.delta
            if isinstance(delta, TextPartDelta):
                self._spending.characters += len(delta.content_delta)
                await self._emit_text(delta.content_delta)
            elif isinstance(delta, ThinkingPartDelta):
                self._spending.characters += len(delta.content_delta or "")
                await self._emit_thinking(delta.content_delta)
            elif isinstance(delta, ToolCallPartDelta):
                self._spending.characters += len(str(delta.args_delta or ""))
        elif isinstance(event, PartStartEvent):
            part = event.part
            # At least one, because the provider has begun to answer.
            self._spending.characters += (
                len(str(getattr(part, "content", None) or getattr(part, "args", None) or "")) or 1
            )
            if isinstance(part, TextPart):
                await self._emit_text(part.content)
            elif isinstance(part, ThinkingPart):
                await self._leg.emit(ThinkingStart())
                await self._emit_thinking(part.content)
            elif isinstance(part, ToolCallPart):
                self._calls += 1
        return not self.has_too_many_calls

    async def release(self, text: str) -> None:
        """Emits the final text if text was held back."""
        if self._hold:
            self._hold = False
            await self._emit_text(text)

    async def _emit_text(self, text: str) -> None:
        if not text or self._hold:
            return
        if not self._started:
            self._started = True
            await self._leg.emit(MessageStart(message_id=self._message_id))
        await self._leg.emit(MessageDelta(message_id=self._message_id, delta=clean_text(text)))

    async def _emit_thinking(self, text: str | None) -> None:
        if text:
            await self._leg.emit(ThinkingDelta(delta=clean_text(text)))
