"""An engine whose legs are functions of the test: it streams, stops, crashes and waits where the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any

from agents_app.engine import Completion, Finished, Leg, LegOutcome, ToolRequest, Usage
from agents_app.events import MessageDelta, MessageStart
from core_app.ids import new_id

Behaviour = Callable[[Leg], Awaitable[LegOutcome]]
USAGE = Usage("scripted", input_tokens=3, output_tokens=5, cost_usd=Decimal("0.25"))


class Crash(Exception):
    """The crash of the engine."""


class Gate:
    """A gate at which a leg waits until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        """For the leg: announces its arrival, and waits."""
        self.reached.set()
        await self.opened.wait()

    async def arrival(self) -> None:
        """For the test: waits until a leg has arrived."""
        async with asyncio.timeout(60):
            await self.reached.wait()

    def open(self) -> None:
        self.opened.set()


class ScriptedEngine:
    """Runs the next of `legs`, and `behaviour` when there are none."""

    name = "scripted"
    builtin_tools: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.behaviour: Behaviour = echo
        self.legs: list[Behaviour] = []
        self.begun = 0

    async def run_leg(self, leg: Leg) -> LegOutcome:
        self.begun += 1
        behaviour = self.legs.pop(0) if self.legs else self.behaviour
        return await behaviour(leg)


async def stream(leg: Leg, pieces: Iterable[str]) -> tuple[str, str]:
    """Streams a message without its checkpoint; returns its id and text."""
    message_id = new_id("msg")
    await leg.emit(MessageStart(message_id=message_id))
    text = ""
    for piece in pieces:
        text += piece
        await leg.emit(MessageDelta(message_id=message_id, delta=piece))
    return message_id, text


async def say(leg: Leg, pieces: Iterable[str], calls: tuple[ToolRequest, ...] = ()) -> tuple[str, Any]:
    """Streams a message and its checkpoint; returns its text and the planned calls."""
    message_id, text = await stream(leg, pieces)
    return text, await leg.checkpoint(Completion(message_id, text, calls, USAGE, b"{}"))


def prompt_of(leg: Leg) -> str:
    """Returns the last message of the user."""
    return next(message.content for message in reversed(leg.history) if message.role == "user")


async def echo(leg: Leg) -> LegOutcome:
    """Streams the prompt word by word, and finishes."""
    text, _ = await say(leg, (word + " " for word in prompt_of(leg).split(" ")))
    return Finished(text)


def saying_leg(*pieces: str) -> Behaviour:
    """Returns a leg that streams these pieces and finishes."""

    async def leg_of(leg: Leg) -> LegOutcome:
        text, _ = await say(leg, pieces)
        return Finished(text)

    return leg_of


def gated_leg(gate: Gate, *, before: Iterable[str] = ("one ", "two "), after: Iterable[str] = ("three",)) -> Behaviour:
    """Returns a leg that waits at the gate in the middle of its message."""

    async def leg_of(leg: Leg) -> LegOutcome:
        message_id, first = await stream(leg, before)
        await gate.pass_through()
        rest = ""
        for piece in after:
            rest += piece
            await leg.emit(MessageDelta(message_id=message_id, delta=piece))
        await leg.checkpoint(Completion(message_id, first + rest, (), USAGE, b"{}"))
        return Finished(first + rest)

    return leg_of


def crashing_leg(*pieces: str) -> Behaviour:
    """Returns a leg that crashes after it has streamed these pieces."""

    async def leg_of(leg: Leg) -> LegOutcome:
        await stream(leg, pieces)
        raise Crash

    return leg_of
