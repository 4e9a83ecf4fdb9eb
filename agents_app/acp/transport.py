"""The messages of an agent as lines of its standard output and input.

What a line may be is limited by the program (`agents_app.programs.program`). No more is read while too much of it waits
to be handled, so an agent that floods the gateway waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agents_app.agent_http import parse_object
from agents_app.engine import Leg
from agents_app.exchange import AgentError
from agents_app.programs.program import RunningProgram
from core_app import jsontext

MAX_WAITING = 256
"""Updates that wait to be handled."""

MAX_REQUESTS = 32
"""Requests of the agent that are being answered."""


class ProgramTransport:
    """A transport of the ACP library over a running program. `failure` is why there are no more messages; None when the
    program has ended by itself."""

    def __init__(
        self, leg: Leg, program: RunningProgram, *, waiting: Callable[[], int], ended: Callable[[], None]
    ) -> None:
        self._leg = leg
        self._program = program
        self._waiting = waiting
        self._ended = ended
        self._requests = 0
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self.failure: AgentError | None = None

    def make_room(self) -> None:
        """Says that something was handled."""
        self._room.set()

    async def send(self, message: dict[str, Any]) -> None:
        """Writes a message. Raises ConnectionError when the program does not read any more."""
        line = jsontext.encode(message) + b"\n"
        async with self._writing:
            try:
                self._program.input.write(line)
                await self._program.input.drain()
            except OSError:
                raise ConnectionError("The program reads no more.") from None
            finally:
                if "method" not in message:
                    self._requests -= 1
                    self.make_room()

    async def receive(self) -> dict[str, Any] | None:
        """Returns the next message; None at the end, and after a failure."""
        while self._waiting() >= MAX_WAITING or self._requests >= MAX_REQUESTS:
            self._room.clear()
            await self._room.wait()
        try:
            async for line in self._program.lines:
                if line.strip():
                    return self._counted(parse_object(self._leg, line))
        except AgentError as error:
            self.failure = error
        self._ended()
        return None

    def _counted(self, message: dict[str, Any]) -> dict[str, Any]:
        if "method" in message and "id" in message:
            self._requests += 1
        return message

    async def close(self) -> None:
        """Does nothing: the program is ended by its owner."""
