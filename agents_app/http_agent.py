"""The `http` engine: an agent that takes an AgentMessage by POST and answers with one, or with events.

The agent keeps nothing, so each message brings the end of the conversation (docs/agents.md, "Agents over HTTP").
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic import BaseModel, Field

from agents_app.agent_http import agent_error, open_answer
from agents_app.agent_settings import agent_settings
from agents_app.engine import Leg, LegOutcome
from agents_app.exchange import Answer, Ask, Exchange, Message, Output, joined_text
from core_app import clock, jsontext
from core_app.ids import new_id

SPACE = "shared_space_id"
"""The key of a prompt's metadata, and of a message's context, for the space that the agent shares with others."""

HISTORY_CHARACTERS = 100_000
"""The end of the conversation that a message brings."""


class HttpFields(BaseModel):
    """The fields of an agent of type `http`. `timeout` is the time to its first byte, in seconds."""

    endpoint: str = Field(min_length=1, max_length=2000)
    timeout: float | None = Field(default=None, ge=0)


class HttpAgentEngine:
    """Runs legs on agents over HTTP."""

    name = "http"
    builtin_tools: tuple[str, ...] = ()

    async def run_leg(self, leg: Leg) -> LegOutcome:
        """Executes one leg to its end."""
        return await Exchange(leg, self.name, _ask(leg)).run()


def _ask(leg: Leg) -> Ask:
    async def ask(messages: tuple[Message, ...], state: Mapping[str, Any], output: Output) -> Answer:
        agent = await agent_settings(leg, HttpFields)
        message = _agent_message(leg, joined_text(messages))
        async with open_answer(
            leg,
            agent.fields.endpoint,
            message,
            headers={},
            allow_private=agent.allow_private,
            first_byte_seconds=agent.fields.timeout,
        ) as parts:
            return await _read_answer(leg, parts, output)

    return ask


def _agent_message(leg: Leg, task: str) -> dict[str, Any]:
    space = leg.run.metadata.get(SPACE)
    shared = {SPACE: space} if isinstance(space, str) else {}
    return {
        "id": new_id("msg"),
        "type": "request",
        "source": "gateway",
        "target": leg.session.agent or leg.session.model.partition(":")[2],
        "correlation_id": leg.run.run_id,
        "timestamp": int(clock.now().timestamp() * 1000),
        "payload": {
            "task": task,
            "context": {"session_id": leg.session.session_id, **shared, "history": _history(leg)},
            "options": {"stream": True},
        },
    }


def _history(leg: Leg) -> list[dict[str, str]]:
    """Returns the end of the conversation before the run, oldest first."""
    left, kept = HISTORY_CHARACTERS, []
    for message in reversed(leg.history):
        if message.role == "tool_result" or message.run_id == leg.run.run_id:
            continue
        left -= len(message.content)
        if left < 0:
            break
        kept.append({"role": message.role, "content": message.content})
    return kept[::-1]


async def _read_answer(leg: Leg, parts: AsyncIterator[dict[str, Any]], output: Output) -> Answer:
    ended = False
    async for part in parts:
        if part.get("error") is not None:
            raise agent_error(leg, "reported an error.", logged=str(part["error"]))
        if isinstance(delta := part.get("delta"), str):
            await output.add_text(delta)
            ended = True
        elif part.get("type") == "stream":
            await output.add_text(_text(part.get("result")))
            ended = True
        elif part.get("type") == "event":
            await output.add_event(str(part.get("event_type") or "event"), part.get("event_data"))
        elif "result" in part or part.get("type") in ("stream_end", "response"):
            await _add_result(output, _text(part.get("result")))
            return Answer()
    if not ended:
        raise agent_error(leg, "ended without an answer.")
    return Answer()


async def _add_result(output: Output, result: str) -> None:
    """Adds what the result has beyond the text that was streamed."""
    if result.startswith(output.text):
        await output.add_text(result[len(output.text) :])
    elif result:
        await output.add_text("\n\n" + result)


def _text(result: Any) -> str:
    if result is None:
        return ""
    return result if isinstance(result, str) else jsontext.encode_text(result)


ENGINE = HttpAgentEngine()
