"""The interface of engines, which execute legs, and of the leg that the runner lends to an engine.

An engine knows no database, no session table and no protocol. It streams events through the leg, gives it every model
response as a checkpoint, has it settle tool calls, and returns the outcome of the leg. Durability is the task of `Leg`
alone, so it is the same for all engines. Every engine must pass the suite in `tests/agents/engine_contract.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

from events_app.lease import LeaseLost as LegLost
from events_app.types import Event
from tools_app.types import Attachment, CallResult, PlannedCall, ToolRequest, ToolSpec

if TYPE_CHECKING:
    from inference_app.spend.budgets import Reservation

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
    "OpenRequest",
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
"""Text in payloads of the gateway's own engines that may contain the summary of a cut (`sessions_app` erases them)."""

_KEPT_FROM = re.compile(r'("kept_from":")([^"\\]+)(")')


def copied_payload(payload: str, copies: Mapping[str, str]) -> str:
    """Returns a payload for a copy of its conversation: the cut starts at the copy of its message, whose id `copies`
    has. Without that, a copy would send its whole history again."""
    return _KEPT_FROM.sub(lambda found: f"{found[1]}{copies.get(found[2], found[2])}{found[3]}", payload)


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """One message of the conversation. `payload` is the engine's own encoding of an assistant's response, exactly as it
    was checkpointed; None for imported history. After a switch of models it may be another engine's."""

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
    """Tokens and cost of one model request. `cost_usd` is None when the price is unknown. `request` is the number of
    the request that was begun (`Leg.begin_request`); `estimated`: the provider did not report the tokens."""

    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None
    request: int | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """One complete model response, the unit of a checkpoint.

    `kept_from` is the id of the first message that is still sent to the usage's model; histories of later legs begin
    there. None keeps an earlier cut as it is.
    """

    message_id: str
    text: str
    calls: tuple[ToolRequest, ...]
    usage: Usage
    payload: bytes
    kept_from: str | None = None


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """An engine's view of the session. `options` are the checked `providerOpts`, `agent` is the id of its configured
    agent, and `tenant_slug` names the tenant to agents that serve several."""

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
    agent: str | None = None
    tenant_slug: str = "default"


@dataclass(frozen=True, slots=True)
class RunSpec:
    """An engine's view of the run. `turns` counts the model responses of earlier legs, since `maxTurns` is a limit per
    run. `api_key_id` is the key that sent the prompt, whose budgets apply. `metadata` is the prompt's."""

    run_id: str
    attempt: int
    turns: int
    api_key_id: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """The run has its answer. `content` is the text of the last message, or JSON text with a response format."""

    content: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run waits for pending tool calls. The next leg starts when the last of them is settled."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ends with an `error` event. `reason` is a sentence for clients and never the text of a foreign
    exception.

    `resume_after` is set when no provider could be asked: the seconds that they want to be left alone, 0 if they do not
    say. The run is then put back and the next leg starts later, unless its session or the gateway does not wait for
    providers, or has waited long enough."""

    code: str
    reason: str
    retryable: bool = False
    resume_after: float | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run reached a limit."""

    reason: Literal["max_turns", "budget"]
    message: str


LegOutcome = Finished | Waiting | Failed | Stopped


class OpenRequest(Protocol):
    """A model request that was begun; to be ended exactly once."""

    number: int

    def end(self, usage: Usage | None = None, reservation: Reservation | None = None) -> None:
        """Ends the request. `usage` is spend that no checkpoint has committed: it is recorded even if the lease is
        lost, and settles the reservation. None: the request was committed, or costs nothing."""


class Leg(Protocol):
    """The services that the runner offers to an engine for one leg. Every method may raise `LegLost` (another process
    holds the lease) or be cancelled (abort); an engine must not catch either."""

    session: SessionSpec
    run: RunSpec
    history: tuple[HistoryMessage, ...]
    """The stored conversation, oldest first. It ends with the run's user message, with tool results, with an assistant
    message whose calls must be settled through `call` (a resumed leg), or with the run's answer if the end of the run
    was not committed. In the last case the engine asks no model again unless `take_steering` returns texts."""
    kept_for: str | None
    """The model for which the beginning of the history was cut (`Completion.kept_from`); None if it is complete. A cut
    keeps system messages and the prompt that the first kept message answers."""

    async def full_history(self) -> tuple[HistoryMessage, ...]:
        """Returns the complete conversation, for a model to which the cut does not apply."""

    async def read_attachment(self, attachment: Attachment) -> bytes | None:
        """Reads the bytes of a `stored` attachment of the history. None when they have been erased."""

    def begin_request(self, estimate: Callable[[], Usage]) -> OpenRequest:
        """Notes a model request that is sent now. `estimate` returns its usage so far: a request that takes long is in
        the ledger before it ends, so that it is not lost if the process is killed."""

    async def emit(self, event: Event) -> None:
        """Streams an event. Returns at once, unless the log has too many uncommitted events."""

    async def checkpoint(self, completion: Completion) -> tuple[PlannedCall, ...]:
        """Commits a response, its calls and its usage. Returns the calls in order, with the gateway's ids. Emits
        `message_end`, if there was text, and `tool_calls`."""

    async def spend(self, usage: Usage) -> None:
        """Commits the usage of a request that is no response of the conversation, such as a summary."""

    async def call(self, call_id: str) -> CallResult | None:
        """Executes a planned call, or returns the result that it already has. None means that the call is pending and
        the run must wait. Several calls may be executed concurrently."""

    async def take_steering(self) -> tuple[str, ...]:
        """Returns the texts that joined the run since this was called last. Each is stored and announced exactly once,
        and is part of the `history` of later legs."""


class Engine(Protocol):
    """A way to execute legs. Engines are stateless: one instance serves all legs of the process."""

    name: str

    async def run_leg(self, leg: Leg) -> LegOutcome:
        """Executes one leg to its end. The runner regards an exception as a bug, logs it and retries the leg."""
