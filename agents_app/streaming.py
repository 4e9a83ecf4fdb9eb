"""A model response while it arrives: its text and thinking as session events, cleaned, in order.

With a response format the text is held back until it is known to fit (`release`), because an answer that has
to be asked for again must not be seen; everything else goes out as it comes.
"""

from __future__ import annotations

from pydantic_ai.messages import (
    AgentStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
)

from agents_app.engine import Leg
from agents_app.events import MessageDelta, MessageStart, ThinkingDelta, ThinkingStart
from core_app.jsontext import clean_text

MAX_CALLS = 128
"""Tool calls in one response; a model that asks for more has lost its way."""


class ResponseStream:
    """Relays one response. `began` is true from the first byte on: from then nothing may be asked again."""

    def __init__(self, leg: Leg, message_id: str, *, hold: bool) -> None:
        self._leg = leg
        self._message_id = message_id
        self._hold = hold
        self._spoken = False
        self._calls = 0
        self.began = False

    @property
    def runs_away(self) -> bool:
        """Whether the response asks for more tools than MAX_CALLS: reading on would only take time from others."""
        return self._calls > MAX_CALLS

    async def feed(self, event: AgentStreamEvent) -> None:
        """Emits what the event says to the client, if it says anything."""
        self.began = True
        if isinstance(event, PartDeltaEvent):
            delta = event.delta
            if isinstance(delta, TextPartDelta):
                await self._say(delta.content_delta)
            elif isinstance(delta, ThinkingPartDelta):
                await self._think(delta.content_delta)
        elif isinstance(event, PartStartEvent):
            part = event.part
            if isinstance(part, TextPart):
                await self._say(part.content)
            elif isinstance(part, ThinkingPart):
                await self._leg.emit(ThinkingStart())
                await self._think(part.content)
            elif isinstance(part, ToolCallPart):
                self._calls += 1

    async def release(self, text: str) -> None:
        """Says text that was held back; nothing when it was not."""
        if self._hold:
            self._hold = False
            await self._say(text)

    async def _say(self, text: str) -> None:
        if not text or self._hold:
            return
        if not self._spoken:
            self._spoken = True
            await self._leg.emit(MessageStart(message_id=self._message_id))
        await self._leg.emit(MessageDelta(message_id=self._message_id, delta=clean_text(text)))

    async def _think(self, text: str | None) -> None:
        if text:
            await self._leg.emit(ThinkingDelta(delta=clean_text(text)))
