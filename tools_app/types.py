"""Values of tool calls: the model's request, the planned call, its context and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tools_app.events import ApprovalRequired, AskUser, ToolCallRequested

UNKNOWN_EFFECT = (
    "Whether the call took effect is unknown, and it was not repeated. Find out before you call the tool again."
)
"""The sentence for the model about a call with the status `unknown`."""
PERMITTED = "Permitted."
"""The result of an agent's own call that was approved, or that needed no approval."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A call as the model requested it; `args` is the parsed object, or the raw text if it is not a JSON object.

    `for_client`: an external agent asks the connected client, whether or not the session has a tool of that name.
    `for_agent`: the agent does the work itself and asks for permission alone. `approval_hint` is set when the agent
    wants a person's decision first, as the note for the approver.
    """

    name: str
    args: Mapping[str, Any] | str
    provider_id: str
    for_client: bool = False
    approval_hint: str | None = None
    for_agent: bool = False


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """The same call with the gateway's own id, unique where the provider's repeats."""

    call_id: str
    name: str
    args: Mapping[str, Any] | str


Status = Literal["ok", "error", "rejected", "timeout", "unknown"]
"""The status of a settled call. `unknown`: the call may have taken effect, and it is not repeated."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part of a prompt or of a tool's result that is not text. Exactly one of `data`, `url` and `stored` is set.

    In a leg's history it is `stored`, the key for `Leg.read_attachment`, and `size` is the number of bytes.
    """

    kind: Literal["image", "audio", "file"]
    media_type: str
    name: str | None = None
    data: bytes | None = None
    url: str | None = None
    stored: int | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Media:
    """An image, a sound or a file in a tool's result."""

    kind: Literal["image", "audio", "file"]
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a settled call; the model reads `content`. `media` is the number of its attachments, which the
    sessions room stores and fills in."""

    call_id: str
    status: Status
    content: str
    media: int = 0
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class SettledCall:
    """The argument of `on_settled`, from which the sessions room stores the message for the model."""

    call_id: str
    run_id: str
    stream_id: int
    tool_name: str
    content: str
    status: Status
    media: tuple[Media, ...] = ()


OnSettled = Callable[[SettledCall], None]
"""Called inside every transaction that settles a call, once for each."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """The session's data that the calls of a leg need.

    `approvals` is the client's policy (tool name or `*` to `always` or `never`); `builtins` lists the session's
    built-in tools; `base_url` is the gateway's public address, with which `resultUrl` starts; `allow_private` is filled
    in from the tenant when a call is executed. `read_result` returns the stored result of a call of this session, None
    for any other id; it is called in a database thread.
    """

    session_id: str
    request_id: str | None
    tenant_id: int
    approvals: Mapping[str, str] = field(default_factory=dict)
    builtins: tuple[str, ...] = ()
    base_url: str = ""
    approval_timeout_seconds: float = 86_400.0
    allow_private: bool = False
    read_result: Callable[[str], str | None] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an executor; `content` is for the model, and a sentence when `status` is not `ok`."""

    status: Literal["ok", "error", "timeout", "unknown"]
    content: str
    media: tuple[Media, ...] = ()


def unknown_outcome(reason: str) -> Outcome:
    """Builds the outcome of a call that must not be repeated and whose effect is not known. `reason` is a sentence."""
    return Outcome("unknown", f"{reason} {UNKNOWN_EFFECT}")


@dataclass(frozen=True, slots=True)
class Later:
    """The callback accepted the call (202) and will post its result to `resultUrl`."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The open waits of a session, as the events that announced them, in the order in which they were opened."""

    approvals: list[ApprovalRequired]
    questions: list[AskUser]
    tools: list[ToolCallRequested]


@dataclass(frozen=True, slots=True)
class Placed:
    """The run whose call a late result settled; `answer` is the wire body of the response."""

    stream_id: int
    run_id: str
    answer: dict[str, Any]
