"""The loop of engines whose agent keeps the conversation itself: one message in, one answer out.

A leg sends the prompt, or the results of the calls that the last answer asked for, and checkpoints each answer. What
the user says meanwhile is the next message. An agent that fails in the middle of its answer fails the run, and the text
so far stays in the conversation, marked as such, so that a leg that is started again does not take it for the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from agents_app.engine import (
    Completion,
    Failed,
    Finished,
    HistoryMessage,
    Leg,
    LegOutcome,
    PlannedCall,
    Stopped,
    ToolRequest,
    Usage,
    Waiting,
)
from agents_app.events import AgentEvent, MessageDelta, MessageStart, ThinkingDelta, ThinkingStart
from agents_app.tool_calls import call_results
from core_app import jsontext
from core_app.ids import new_id

logger = structlog.get_logger("gateway.agents")


@dataclass(frozen=True, slots=True)
class UserText:
    """Text of the user: the prompt, or one that joined it."""

    message_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """The result of a call that the agent asked for, under the agent's own id."""

    agent_call_id: str
    name: str
    content: str
    failed: bool


Message = UserText | ToolOutput


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one answer, whose text went through Output. `state` is what the agent's adapter wants to have again
    with the next message: small, JSON."""

    calls: tuple[ToolRequest, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage | None = None


class AgentError(Exception):
    """The agent failed; `failed` is the outcome for clients. `logged` is for the log only: it may quote the agent."""

    def __init__(self, failed: Failed, logged: str = "") -> None:
        super().__init__(failed.reason)
        self.failed = failed
        self.logged = logged


class Output:
    """The answer that is being given, as session events. `text` is the text so far."""

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self._thinking = False
        self._pieces: list[str] = []
        self.message_id = new_id("msg")

    @property
    def text(self) -> str:
        """The text so far, as clients have it."""
        return "".join(self._pieces)

    async def add_text(self, text: str) -> None:
        """Streams a piece of the text."""
        if not (piece := jsontext.clean_text(text)):
            return
        if not self._pieces:
            await self._leg.emit(MessageStart(message_id=self.message_id))
        self._pieces.append(piece)
        self._thinking = False
        await self._leg.emit(MessageDelta(message_id=self.message_id, delta=piece))

    async def add_thinking(self, text: str) -> None:
        """Streams a piece of the reasoning."""
        if piece := jsontext.clean_text(text):
            if not self._thinking:
                self._thinking = True
                await self._leg.emit(ThinkingStart())
            await self._leg.emit(ThinkingDelta(delta=piece))

    async def add_event(self, name: str, data: Any) -> None:
        """Streams something else that the agent tells."""
        await self._leg.emit(AgentEvent(name=jsontext.clean_text(name)[:100], data=jsontext.clean(data)))


Ask = Callable[[tuple[Message, ...], Mapping[str, Any], Output], Awaitable[Answer]]
"""Sends messages to the agent, with the state of its last answer, and returns the end of its answer. The messages are
texts of the user, or the results of all calls of the last answer. Raises AgentError."""


class Exchange:
    """The loop of one leg. `engine` marks its notes in the conversation, which no other engine reads."""

    def __init__(self, leg: Leg, engine: str, ask: Ask) -> None:
        self._leg = leg
        self._engine = engine
        self._ask = ask
        self._turns = leg.run.turns
        last = next((message for message in reversed(leg.history) if message.role == "assistant"), None)
        self._last = last if last is not None and last.run_id == leg.run.run_id else None
        self._note = _note_of(last, engine)

    async def run(self) -> LegOutcome:
        """Runs the leg to its end."""
        if self._last is None:
            step: tuple[Message, ...] | LegOutcome = self._prompt()
        else:
            step = await self._follow_up(self._last.content, self._last.calls)
        while not isinstance(step, LegOutcome):
            if self._turns >= (limit := self._leg.session.max_turns):
                return Stopped("max_turns", f"The run reached its limit of {limit} answers.")
            step = await self._take_turn(step)
        return step

    def _prompt(self) -> tuple[Message, ...]:
        """Returns the run's texts, which are those of earlier attempts and steering that an earlier attempt took."""
        said = [message for message in self._leg.history if message.role == "user"]
        own = [message for message in said if message.run_id == self._leg.run.run_id] or said[-1:]
        return tuple(UserText(message.message_id, message.content) for message in own)

    async def _follow_up(self, text: str, calls: tuple[PlannedCall, ...]) -> tuple[Message, ...] | LegOutcome:
        """Returns what follows an answer: messages for the agent, or the end of the leg."""
        if (failed := self._note.get("failed")) is not None:
            return Failed(failed["code"], failed["reason"], failed["retryable"])
        if calls:
            return await self._results(calls)
        if self._last is not None and (later := self._texts_after(self._last)):
            self._last = None
            return later
        return await self._steering() or Finished(text)

    async def _results(self, calls: tuple[PlannedCall, ...]) -> tuple[Message, ...] | Waiting:
        results = await call_results(self._leg, [call.call_id for call in calls])
        if results is None:
            return Waiting()
        ids: list[str] = self._note.get("calls") or [call.call_id for call in calls]
        return tuple(
            ToolOutput(own, call.name, result.content, result.status != "ok")
            for own, call, result in zip(ids, calls, results, strict=True)
        )

    def _texts_after(self, answer: HistoryMessage) -> tuple[Message, ...]:
        """Returns steering texts that an attempt took after this answer, and died before it sent them."""
        at = self._leg.history.index(answer)
        said = [message for message in self._leg.history[at + 1 :] if message.role == "user"]
        return tuple(UserText(message.message_id, message.content) for message in said)

    async def _steering(self) -> tuple[Message, ...]:
        return tuple(UserText(new_id("msg"), text) for text in await self._leg.take_steering())

    async def _take_turn(self, messages: tuple[Message, ...]) -> tuple[Message, ...] | LegOutcome:
        if isinstance(messages[0], UserText):
            messages += await self._steering()
        output = Output(self._leg)
        try:
            answer = await self._ask(messages, self._note.get("state") or {}, output)
        except AgentError as error:
            return await self._fail(error, output)
        note = {"engine": self._engine, "calls": [call.provider_id for call in answer.calls], "state": answer.state}
        planned = await self._checkpoint(output, note, answer)
        return await self._follow_up(output.text, planned)

    async def _fail(self, error: AgentError, output: Output) -> Failed:
        failed = error.failed
        logger.warning("agent_failed", engine=self._engine, agent=self._leg.session.agent, detail=error.logged[:500])
        if output.text:
            shown = {"code": failed.code, "reason": failed.reason, "retryable": failed.retryable}
            note = {"engine": self._engine, "state": self._note.get("state") or {}, "failed": shown}
            await self._checkpoint(output, note, Answer())
        return failed

    async def _checkpoint(self, output: Output, note: dict[str, Any], answer: Answer) -> tuple[PlannedCall, ...]:
        usage = answer.usage or Usage(self._leg.session.model)
        payload = jsontext.encode(note)
        planned = await self._leg.checkpoint(Completion(output.message_id, output.text, answer.calls, usage, payload))
        self._note, self._last, self._turns = note, None, self._turns + 1
        return planned


def _note_of(message: HistoryMessage | None, engine: str) -> Mapping[str, Any]:
    """Returns what an answer of this engine noted; empty for another engine's."""
    if message is None or not message.payload:
        return {}
    note = jsontext.decode(message.payload)
    return note if isinstance(note, dict) and note.get("engine") == engine else {}
