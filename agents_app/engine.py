"""What an engine is: the thing that executes a leg, and what the leg lends it.

An engine knows no database, no session table and no protocol. It streams events through the leg, hands it
every model response as a checkpoint, asks it to settle tool calls, and says how the leg ended. Every rule
about durability lives on the other side of `Leg`, so all engines keep it alike; `tests/agents/engine_contract.py`
is the suite that each must pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol

from events_app.lease import LeaseLost as LegLost
from events_app.types import Event
from tools_app.types import CallResult, PlannedCall, ToolRequest, ToolSpec

__all__ = [
    "Attachment",
    "CallResult",
    "Completion",
    "Engine",
    "Failed",
    "Finished",
    "HistoryMessage",
    "Leg",
    "LegLost",
    "LegOutcome",
    "PlannedCall",
    "RunSpec",
    "SessionSpec",
    "Stopped",
    "ToolRequest",
    "ToolSpec",
    "Usage",
    "Waiting",
]


CUT_MARK = '"kept_from"'
"""What the gateway's own engines' payloads have where a cut's summary of earlier messages may be in them."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part of a prompt that is not text; exactly one of `data` (bytes), `url` and `stored` is set.

    In a leg's history it is `stored`: what names the bytes to `Leg.read_attachment`, and how many they are.
    """

    kind: Literal["image", "audio", "file"]
    media_type: str
    name: str | None = None
    data: bytes | None = None
    url: str | None = None
    stored: int | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """One message of the conversation. `payload` is the engine's own encoding of an assistant's response,
    given back exactly as it was checkpointed; None for imported history and other engines' messages."""

    message_id: str
    role: Literal["user", "assistant", "system", "tool_result"]
    content: str
    attachments: tuple[Attachment, ...] = ()
    calls: tuple[PlannedCall, ...] = ()
    call_id: str | None = None
    payload: bytes | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model response; `cost_usd` None when the price is unknown."""

    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One complete model response: the unit of a checkpoint.

    `kept_from`: where what came before that message was cut away for the usage's model; later legs' histories begin
    there. None changes nothing about that.
    """

    message_id: str
    text: str
    calls: tuple[ToolRequest, ...]
    usage: Usage
    payload: bytes
    kept_from: str | None = None


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """What an engine may know of the session; `options` are the checked `providerOpts`."""

    session_id: str
    tenant_id: int
    model: str
    system_prompt: str
    max_turns: int
    max_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    response_format: Mapping[str, Any] | None = None
    history_policy: Literal["error", "truncate", "summarize"] = "truncate"
    tools: tuple[ToolSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSpec:
    """`turns` is how many model responses the run has had in earlier legs (`maxTurns` counts per run);
    `api_key_id` whose key began it, whose budgets count."""

    run_id: str
    attempt: int
    turns: int
    api_key_id: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The run has its answer: `content`, the last message's text (JSON text with a response format)."""

    content: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run waits for calls that are not settled; the next leg begins when the last of them is."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ends with an `error` event. `reason` is a sentence for the client, never a foreign exception's text."""

    code: str
    reason: str
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run reached a limit."""

    reason: Literal["max_turns", "budget"]
    message: str


LegOutcome = Finished | Waiting | Failed | Stopped


class Leg(Protocol):
    """What the runner lends an engine for one leg. Every method may raise `LegLost` (another process holds the
    lease) or be cancelled (abort); an engine lets both pass through untouched."""

    session: SessionSpec
    run: RunSpec
    history: tuple[HistoryMessage, ...]
    """The stored conversation, oldest first. It ends with the run's user message, with tool results, with an
    assistant message whose calls are to be settled through `call` (a leg that resumes), or with the run's answer
    already (its end was not committed): then the engine asks no model unless `steering` brings something."""
    kept_for: str | None
    """None: the history is whole. Else the model for which its beginning was cut away (`Completion.kept_from`); what is
    there of it are system messages, and the prompt that the first kept message answers."""

    async def full_history(self) -> tuple[HistoryMessage, ...]:
        """All of the stored conversation, for a model that another one's cut does not concern."""

    async def read_attachment(self, attachment: Attachment) -> bytes | None:
        """The bytes of a `stored` attachment of the history, read each time; None when they were erased since."""

    async def emit(self, event: Event) -> None:
        """Streams an event; returns at once unless the log is behind by more than its bound."""

    async def checkpoint(self, completion: Completion) -> tuple[PlannedCall, ...]:
        """Commits a response, its calls and its spend; the calls come back in order with the gateway's ids.
        Emits `message_end` (when there was text) and `tool_calls`."""

    async def spend(self, usage: Usage) -> None:
        """Commits what a request cost that is no response of the conversation (a summary of it)."""

    async def call(self, call_id: str) -> CallResult | None:
        """Executes a planned call, or gives the answer it already has; None: it is pending and the run must wait.
        Safe to call for several ids concurrently."""

    async def take_steering(self) -> tuple[str, ...]:
        """Texts that joined the run since the last call of this; each is stored and announced exactly once, and is
        from then on part of `history` of later legs."""


class Engine(Protocol):
    """One way to execute legs. Stateless: one instance serves every leg of the process."""

    name: str

    async def run_leg(self, leg: Leg) -> LegOutcome:
        """Executes one leg to its end. An exception is a bug or a crash: the runner logs it and retries the leg."""
