"""Tool calls as values: what a model asks for, what the gateway makes of it, and how it was settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tools_app.events import ApprovalRequired, AskUser, ToolCallRequested


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A call as the model asked for it; `args` is the parsed object, or the raw text when it is not one."""

    name: str
    args: Mapping[str, Any] | str
    provider_id: str


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """The same call with the gateway's own id, unique where the provider's repeats."""

    call_id: str
    name: str
    args: Mapping[str, Any] | str


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call was settled; `content` is what the model is told."""

    call_id: str
    status: Literal["ok", "error", "rejected", "timeout"]
    content: str


@dataclass(frozen=True, slots=True)
class SettledCall:
    """What a settling transaction hands to its `on_settled`: the upper room stores the message of it there."""

    call_id: str
    run_id: str
    stream_id: int
    tool_name: str
    content: str
    status: Literal["ok", "error", "rejected", "timeout"]


OnSettled = Callable[[SettledCall], None]
"""Called inside every transaction that settles a call, once for each."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What the calls of a leg may know of their session.

    `approvals` is the client's policy (tool name or `*` to `always` or `never`); `builtins` the built-in tools the
    session has; `base_url` is where this gateway is reached from outside (`resultUrl` starts with it);
    `allow_private` is filled in from the tenant when a call is executed.
    """

    session_id: str
    request_id: str | None
    tenant_id: int
    approvals: Mapping[str, str] = field(default_factory=dict)
    builtins: tuple[str, ...] = ()
    base_url: str = ""
    approval_timeout_seconds: float = 86_400.0
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an executor ended: `content` is for the model, and a sentence when `status` is not `ok`."""

    status: Literal["ok", "error", "timeout"]
    content: str


@dataclass(frozen=True, slots=True)
class Later:
    """The callback took the call (202) and will post its result to the address it was given."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The events that announced what a session waits for, in the order it was asked for."""

    approvals: list[ApprovalRequired]
    questions: list[AskUser]
    tools: list[ToolCallRequested]


@dataclass(frozen=True, slots=True)
class Placed:
    """Whose call a late result settled; `answer` is the wire answer to who posted it."""

    stream_id: int
    run_id: str
    answer: dict[str, Any]
