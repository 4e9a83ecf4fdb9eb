"""The `process` engine: a program that reads the message from standard input and writes its answer as text.

Each message is one start of the program; what it keeps between messages is in the session's directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents_app.agent_http import agent_error
from agents_app.engine import Leg, LegOutcome
from agents_app.exchange import Answer, Ask, Exchange, Message, Output, joined_text
from agents_app.programs.program import program_fields, run_program


class TextProgramEngine:
    """Runs legs on programs that speak plain text."""

    name = "process"
    builtin_tools: tuple[str, ...] = ()

    async def run_leg(self, leg: Leg) -> LegOutcome:
        """Executes one leg to its end."""
        return await Exchange(leg, self.name, _ask(leg)).run()


def _ask(leg: Leg) -> Ask:
    async def ask(messages: tuple[Message, ...], state: Mapping[str, Any], output: Output) -> Answer:
        fields = await program_fields(leg)
        if not fields.command:
            raise agent_error(leg, "has no command.", code="unprocessable")
        async with run_program(leg, fields, (fields.command, *fields.args), joined_text(messages)) as lines:
            async for line in lines:
                await output.add_text(line.decode("utf-8", "replace"))
        return Answer()

    return ask


ENGINE = TextProgramEngine()
