"""The `claude-code` engine: `claude -p --output-format stream-json`, with the prompt on standard input.

Text and reasoning are streamed, and what Claude Code does with its own tools is told in `agent_event`. The id of its
conversation is kept with each answer and resumed with the next message. Tokens and cost are what it reports.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Any

from agents_app.agent_http import agent_error, parse_object
from agents_app.engine import Leg, LegOutcome, Usage
from agents_app.exchange import Answer, Ask, Exchange, Message, Output, joined_text
from agents_app.programs.program import program_fields, run_program

FORMAT = ("-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages")
_ID = re.compile(r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
"""Form of a conversation's id. It comes from the program and goes to a command line, so nothing else is taken."""


class ClaudeCodeEngine:
    """Runs legs on Claude Code."""

    name = "claude-code"
    builtin_tools: tuple[str, ...] = ()

    async def run_leg(self, leg: Leg) -> LegOutcome:
        """Executes one leg to its end."""
        return await Exchange(leg, self.name, _ask(leg)).run()


def _ask(leg: Leg) -> Ask:
    async def ask(messages: tuple[Message, ...], state: Mapping[str, Any], output: Output) -> Answer:
        fields = await program_fields(leg)
        argv = (fields.command or "claude", *fields.args, *FORMAT)
        argv += ("--model", fields.model) if fields.model else ()
        argv += ("--resume", state["session"]) if _is_id(state.get("session")) else ()
        async with run_program(leg, fields, argv, joined_text(messages)) as lines:
            return await _Reader(leg, output).read(lines)

    return ask


class _Reader:
    """Reads one answer. Text comes in pieces, or whole from a version that streams none."""

    def __init__(self, leg: Leg, output: Output) -> None:
        self._leg = leg
        self._output = output
        self._streamed = False
        self._gap = False

    async def read(self, lines: AsyncIterator[bytes]) -> Answer:
        """Reads up to the `result`, without which the answer is not complete."""
        async for line in lines:
            if not line.strip():
                continue
            message = parse_object(self._leg, line)
            if message.get("type") == "result":
                return await self._finish(message)
            await self._take(message)
        raise agent_error(self._leg, "ended without a result.")

    async def _take(self, message: Mapping[str, Any]) -> None:
        kind = message.get("type")
        if kind == "stream_event":
            await self._take_delta(_object(_object(message.get("event")).get("delta")))
        elif kind in ("assistant", "user"):
            content = _object(message.get("message")).get("content")
            for block in content if isinstance(content, list) else ():
                await self._take_block(_object(block), own=kind == "assistant")
            self._streamed, self._gap = False, bool(self._output.text)

    async def _take_delta(self, delta: Mapping[str, Any]) -> None:
        if isinstance(text := delta.get("text"), str):
            self._streamed = True
            await self._add_text(text)
        elif isinstance(thinking := delta.get("thinking"), str):
            self._streamed = True
            await self._output.add_thinking(thinking)

    async def _take_block(self, block: Mapping[str, Any], *, own: bool) -> None:
        kind = block.get("type")
        if kind in ("tool_use", "tool_result"):
            await self._output.add_event(str(kind), {name: value for name, value in block.items() if name != "type"})
        elif own and kind == "text" and not self._streamed:
            await self._add_text(str(block.get("text") or ""))

    async def _add_text(self, text: str) -> None:
        if text:
            await self._output.add_text(("\n\n" if self._gap else "") + text)
            self._gap = False

    async def _finish(self, result: Mapping[str, Any]) -> Answer:
        if result.get("is_error") or result.get("subtype") != "success":
            raise agent_error(
                self._leg, "reported an error.", logged=str(result.get("result") or result.get("subtype"))
            )
        if not self._output.text:
            await self._output.add_text(str(result.get("result") or ""))
        session = result.get("session_id")
        return Answer(state={"session": session} if _is_id(session) else {}, usage=_usage(self._leg, result))


def _usage(leg: Leg, result: Mapping[str, Any]) -> Usage:
    counts, cost = _object(result.get("usage")), result.get("total_cost_usd")
    cached = _count(counts.get("cache_read_input_tokens"))
    return Usage(
        leg.session.model,
        input_tokens=_count(counts.get("input_tokens")) + cached + _count(counts.get("cache_creation_input_tokens")),
        output_tokens=_count(counts.get("output_tokens")),
        cached_tokens=cached,
        cost_usd=Decimal(str(cost)) if isinstance(cost, int | float) and 0 <= cost < 1e6 else None,
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and _ID.match(value) is not None


ENGINE = ClaudeCodeEngine()
