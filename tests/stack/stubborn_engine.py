"""An operator's engine that ignores cancellation, like one whose libraries lose it."""

from __future__ import annotations

import asyncio
import contextlib

from agents_app.engine import Leg, LegOutcome
from agents_app.events import MessageDelta, MessageStart
from core_app.ids import new_id


class StubbornEngine:
    """Emits a word and never ends."""

    name = "stubborn"
    builtin_tools: tuple[str, ...] = ()

    async def run_leg(self, leg: Leg) -> LegOutcome:
        message_id = new_id("msg")
        await leg.emit(MessageStart(message_id=message_id))
        await leg.emit(MessageDelta(message_id=message_id, delta="here"))
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


ENGINE = StubbornEngine()
