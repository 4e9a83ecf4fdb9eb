"""An implementation of `agents_app.engine.Leg` in memory, which records everything.

`World` has what outlives a leg: the stored history, results of calls, usage and events. `World.leg()` returns a leg, as
the runner would. `crash_at=(n, after)` raises `Crash` when the engine awaits the leg for the n-th time, before or after
the effect was stored; the next leg continues from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agents_app.engine import Attachment, Completion, HistoryMessage, RunSpec, SessionSpec, Usage
from core_app.ids import new_id
from events_app.types import Event
from inference_app.spend.budgets import Reservation
from sessions_app.events import SESSION_EVENTS, MessageEnd, Steering, ToolCalls
from tools_app.events import ToolExecutionEnd, ToolExecutionStart
from tools_app.types import CallResult, PlannedCall, ToolSpec

Tool = Callable[[Mapping[str, Any]], str | None]
"""Returns the result for the arguments; None leaves the call pending."""


class Crash(Exception):
    """The process died at this point."""


ECHO = ToolSpec("echo", "Says its arguments.", {"type": "object"})
LATER = ToolSpec("later", "Answers when it is settled from outside.", {"type": "object"})


def session_of(model: str = "demo:tour", **fields: Any) -> SessionSpec:
    """Builds a session with two tools and the default limits."""
    base = SessionSpec("s1", 1, model, "", 100, tools=(ECHO, LATER))
    return replace(base, **fields)


@dataclass
class World:
    """Everything that is stored. `tools` has tools by name; a call of another tool gets an error, as in `tools_app`."""

    session: SessionSpec
    tools: dict[str, Tool] = field(default_factory=lambda: {"echo": str, "later": lambda args: None})
    history: list[HistoryMessage] = field(default_factory=list)
    calls: dict[str, PlannedCall] = field(default_factory=dict)
    for_agent: set[str] = field(default_factory=set)
    """Calls that the agent makes itself. They wait for a decision, unless there is a tool of their name."""
    settled: dict[str, CallResult] = field(default_factory=dict)
    executed: list[PlannedCall] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    waiting_texts: list[str] = field(default_factory=list)
    spent: list[Usage] = field(default_factory=list)
    requests: int = 0
    unfenced: list[Usage] = field(default_factory=list)
    """Spend of requests that no checkpoint committed."""
    stored: dict[int, bytes] = field(default_factory=dict)
    media: dict[str, tuple[Attachment, ...]] = field(default_factory=dict)
    """Attachments of the results, by tool."""
    read: list[int] = field(default_factory=list)
    attempt: int = 1
    run_id: str = "run_1"

    def prompt(self, text: str, attachments: tuple[Attachment, ...] = ()) -> None:
        """Starts a new run with this message."""
        self.run_id = new_id("run")
        self.completions.clear()
        self.history.append(HistoryMessage(new_id("msg"), "user", text, attachments, run_id=self.run_id))

    def settle(self, call_id: str, content: str, status: Any = "ok") -> None:
        """Settles a pending call from outside, and adds its result to the history, as the runner does."""
        media = self.media.get(self.calls[call_id].name, ()) if call_id in self.calls else ()
        self.settled[call_id] = CallResult(call_id, status, content, len(media), media)
        self.history.append(
            HistoryMessage(new_id("msg"), "tool_result", content, media, call_id=call_id, run_id=self.run_id)
        )

    def pending_calls(self) -> list[PlannedCall]:
        return [call for call in self.calls.values() if call.call_id not in self.settled]

    def leg(self, *, crash_at: tuple[int, bool] | None = None) -> RecordingLeg:
        return RecordingLeg(self, crash_at)

    @property
    def usage(self) -> list[Usage]:
        return [completion.usage for completion in self.completions]

    def events_of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class RecordingRequest:
    """A model request of a RecordingLeg."""

    world: World
    number: int

    def end(self, usage: Usage | None = None, reservation: Reservation | None = None) -> None:
        if usage is not None:
            self.world.unfenced.append(usage)


class RecordingLeg:
    """One leg on a World."""

    def __init__(self, world: World, crash_at: tuple[int, bool] | None) -> None:
        self.world = world
        self.session = world.session
        self.run = RunSpec(world.run_id, world.attempt, len(world.completions))
        self.history = tuple(world.history)
        self.kept_for: str | None = None
        self.awaits = 0
        self._crash_at = crash_at

    def _step(self) -> bool:
        """Counts an await. Raises Crash if the leg must die before the effect, returns True if it must die after it."""
        self.awaits += 1
        if self._crash_at is None or self._crash_at[0] != self.awaits:
            return False
        if not self._crash_at[1]:
            raise Crash
        return True

    async def full_history(self) -> tuple[HistoryMessage, ...]:
        return tuple(self.world.history)

    async def read_attachment(self, attachment: Attachment) -> bytes | None:
        if attachment.stored is None:
            return attachment.data
        self.world.read.append(attachment.stored)
        return self.world.stored.get(attachment.stored)

    def begin_request(self, estimate: Callable[[], Usage]) -> RecordingRequest:
        self.world.requests += 1
        return RecordingRequest(self.world, self.world.requests)

    async def emit(self, event: Event) -> None:
        dying = self._step()
        SESSION_EVENTS.encode(event, run_id=self.run.run_id, at="2026-01-01T00:00:00.000Z").decode()
        self.world.events.append(event)
        self._die(dying)

    async def checkpoint(self, completion: Completion) -> tuple[PlannedCall, ...]:
        dying = self._step()
        planned = tuple(PlannedCall(new_id("call"), call.name, call.args) for call in completion.calls)
        self.world.calls.update({call.call_id: call for call in planned})
        self.world.for_agent |= {
            call.call_id for call, request in zip(planned, completion.calls, strict=True) if request.for_agent
        }
        self.world.completions.append(completion)
        self.world.history.append(
            HistoryMessage(
                completion.message_id,
                "assistant",
                completion.text,
                (),
                planned,
                None,
                completion.payload,
                self.run.run_id,
            )
        )
        if completion.text:
            self.world.events.append(MessageEnd(message_id=completion.message_id, content=completion.text))
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

    async def take_steering(self) -> tuple[str, ...]:
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
        if tool is None and call.call_id in self.world.for_agent:
            return
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
