"""A leg in memory that keeps the contract of `agents_app.engine.Leg` and remembers everything.

`World` is what outlives a leg: the stored history, the calls' answers, what was spent and every event. `World.leg()`
lends it to an engine as the runner would; `crash_at=(n, after)` raises `Crash` at the n-th time the engine awaits
the leg, before or after the effect of that was stored, and the next leg goes on from what was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agents_app.engine import Attachment, HistoryMessage, ModelTurn, RunSpec, SessionSpec, Usage
from core_app.ids import new_id
from events_app.types import Event
from sessions_app.events import SESSION_EVENTS, MessageEnd, Steering, ToolCalls
from tools_app.events import ToolExecutionEnd, ToolExecutionStart
from tools_app.types import CallResult, PlannedCall, ToolSpec

Tool = Callable[[Mapping[str, Any]], str | None]
"""What a tool answers to its arguments; None leaves the call pending."""


class Crash(Exception):
    """The process died here."""


ECHO = ToolSpec("echo", "Says its arguments.", {"type": "object"})
LATER = ToolSpec("later", "Answers when it is settled from outside.", {"type": "object"})


def session_of(model: str = "demo:tour", **fields: Any) -> SessionSpec:
    """A session with two tools, bounded like the default one."""
    base = SessionSpec("s1", 1, model, "", 100, tools=(ECHO, LATER))
    return replace(base, **fields)


@dataclass
class World:
    """Everything that is stored. `tools` answer by name; an unknown tool is answered with an error, as the tools
    room does."""

    session: SessionSpec
    tools: dict[str, Tool] = field(default_factory=lambda: {"echo": str, "later": lambda args: None})
    history: list[HistoryMessage] = field(default_factory=list)
    calls: dict[str, PlannedCall] = field(default_factory=dict)
    settled: dict[str, CallResult] = field(default_factory=dict)
    executed: list[PlannedCall] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    turns: list[ModelTurn] = field(default_factory=list)
    waiting_texts: list[str] = field(default_factory=list)
    spent: list[Usage] = field(default_factory=list)
    stored: dict[int, bytes] = field(default_factory=dict)
    read: list[int] = field(default_factory=list)
    attempt: int = 1
    run_id: str = "run_1"

    def prompt(self, text: str, attachments: tuple[Attachment, ...] = ()) -> None:
        """A new run begins with this message."""
        self.run_id = new_id("run")
        self.turns.clear()
        self.history.append(HistoryMessage(new_id("msg"), "user", text, attachments, run_id=self.run_id))

    def settle(self, call_id: str, content: str, status: Any = "ok") -> None:
        """A pending call is answered from outside; the history shows it as the runner's does."""
        self.settled[call_id] = CallResult(call_id, status, content)
        self.history.append(HistoryMessage(new_id("msg"), "tool_result", content, call_id=call_id, run_id=self.run_id))

    def pending(self) -> list[PlannedCall]:
        return [call for call in self.calls.values() if call.call_id not in self.settled]

    def leg(self, *, crash_at: tuple[int, bool] | None = None) -> RecordingLeg:
        return RecordingLeg(self, crash_at)

    @property
    def usage(self) -> list[Usage]:
        return [turn.usage for turn in self.turns]

    def events_of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class RecordingLeg:
    """One leg over a World."""

    def __init__(self, world: World, crash_at: tuple[int, bool] | None) -> None:
        self.world = world
        self.session = world.session
        self.run = RunSpec(world.run_id, world.attempt, len(world.turns))
        self.history = tuple(world.history)
        self.kept_for: str | None = None
        self.awaits = 0
        self._crash_at = crash_at

    def _step(self) -> bool:
        """Counts an await; dies here when it is to die before the effect, true when it is to die after it."""
        self.awaits += 1
        if self._crash_at is None or self._crash_at[0] != self.awaits:
            return False
        if not self._crash_at[1]:
            raise Crash
        return True

    async def whole_history(self) -> tuple[HistoryMessage, ...]:
        return tuple(self.world.history)

    async def attachment(self, attachment: Attachment) -> bytes | None:
        if attachment.stored is None:
            return attachment.data
        self.world.read.append(attachment.stored)
        return self.world.stored.get(attachment.stored)

    async def emit(self, event: Event) -> None:
        dying = self._step()
        SESSION_EVENTS.encode(event, run_id=self.run.run_id, at="2026-01-01T00:00:00.000Z").decode()
        self.world.events.append(event)
        self._die(dying)

    async def checkpoint(self, turn: ModelTurn) -> tuple[PlannedCall, ...]:
        dying = self._step()
        planned = tuple(PlannedCall(new_id("call"), call.name, call.args) for call in turn.calls)
        self.world.calls.update({call.call_id: call for call in planned})
        self.world.turns.append(turn)
        self.world.history.append(
            HistoryMessage(turn.message_id, "assistant", turn.text, (), planned, None, turn.payload, self.run.run_id)
        )
        if turn.text:
            self.world.events.append(MessageEnd(message_id=turn.message_id, content=turn.text))
        if planned:
            self.world.events.append(ToolCalls(count=len(planned)))
        self._die(dying)
        return planned

    async def spend(self, usage: Usage) -> None:
        dying = self._step()
        self.world.spent.append(usage)
        self._die(dying)

    async def call(self, call_id: str) -> CallResult | None:
        dying = self._step()
        if call_id not in self.world.settled:
            self._execute(self.world.calls[call_id])
        self._die(dying)
        return self.world.settled.get(call_id)

    async def steering(self) -> tuple[str, ...]:
        dying = self._step()
        texts = tuple(self.world.waiting_texts)
        self.world.waiting_texts.clear()
        for text in texts:
            self.world.history.append(HistoryMessage(new_id("msg"), "user", text, run_id=self.run.run_id))
            self.world.events.append(Steering(text=text))
        self._die(dying)
        return texts

    def _execute(self, call: PlannedCall) -> None:
        tool = self.world.tools.get(call.name)
        if tool is None:
            result = CallResult(call.call_id, "error", f"There is no tool called {call.name}.")
        elif isinstance(call.args, str):
            result = CallResult(call.call_id, "error", "The arguments are not a JSON object.")
        else:
            self.world.executed.append(call)
            answer = tool(call.args)
            if answer is None:
                return
            result = CallResult(call.call_id, "ok", answer)
        self.world.events += [
            ToolExecutionStart(call_id=call.call_id, tool_name=call.name, args=call.args),
            ToolExecutionEnd(
                call_id=call.call_id, tool_name=call.name, status=result.status, result=result.content, duration_ms=0
            ),
        ]
        self.world.settle(call.call_id, result.content, result.status)

    @staticmethod
    def _die(dying: bool) -> None:
        if dying:
            raise Crash
