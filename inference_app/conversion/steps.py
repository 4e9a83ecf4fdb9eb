"""Steps: the events of a completion, independent of any wire. Readers yield them, writers consume them.

A completion is Start, content in order, Finish, optionally UsageReport, and End. A Failure may replace any step and is
the last one. Items do not overlap: a reader puts those that a provider interleaves one behind the other. A completion
that is not streamed has the same steps, each with its complete text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from inference_app.conversion.usage import Usage

Json = dict[str, Any]


class FinishReason(StrEnum):
    """The finish reason of a completion, in chat's terms."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class Start:
    """The first step. Fields are None if the provider did not send them."""

    id: str | None = None
    model: str | None = None
    created: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A delta of text; `logprobs` are in chat's format."""

    delta: str
    logprobs: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A delta of reasoning text."""

    delta: str


@dataclass(frozen=True, slots=True)
class Seal:
    """The end of a stretch of reasoning, with the state that its provider wants back (`sealed_reasoning`). `alone`: it
    belongs to none of the text before it."""

    value: Json
    alone: bool = False


@dataclass(frozen=True, slots=True)
class PartStart:
    """The start of a part of text, to which the places of the next citations refer."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A web page that the text cites. `start` and `end` are places in the part of text, or in the whole text if there
    are no parts."""

    url: str
    title: str
    start: int
    end: int
    cited_text: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A delta of the model's refusal."""

    delta: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """The start of a tool call. `id` is unique in the completion; `custom` marks the wire's own free-form calls.
    `signature` is Gemini's, which it wants back with the call."""

    id: str
    name: str
    custom: bool = False
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class CallInput:
    """A delta of the open call's arguments (JSON) or of a custom call's input."""

    delta: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The end of the open call; not `complete` if the token limit cut the arguments off."""

    complete: bool = True


@dataclass(frozen=True, slots=True)
class Finish:
    """The model stopped. `sequence` is the stop sequence that ended it, if the provider reports one."""

    reason: FinishReason
    sequence: str | None = None


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The tokens of the complete completion."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class End:
    """The last step of a successful completion."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed completion. `code` identifies the fault; `message` is for the client, without a provider's text."""

    code: str
    message: str
    status: int = 502


Step = (
    Start
    | Text
    | Reasoning
    | Seal
    | PartStart
    | Citation
    | Refusal
    | CallStart
    | CallInput
    | CallEnd
    | Finish
    | UsageReport
    | End
    | Failure
)


class Reader(Protocol):
    """Reader of one completion in a provider's wire."""

    def read(self, event: Json) -> Iterable[Step]:
        """Yields the steps of one stream event."""

    def end(self) -> Iterable[Step]:
        """Yields the last steps after the stream ended; a Failure if the completion is unfinished."""

    def read_body(self, body: Json) -> Iterable[Step]:
        """Yields the steps of a complete response body."""


class Writer(Protocol):
    """Writer of one completion in a client's dialect. `whole`: nobody reads the events, so they need not be made."""

    whole: bool

    def write(self, step: Step) -> list[Json]:
        """Returns the stream events of the step."""

    def final_body(self) -> Json:
        """Returns the complete response body; call after End."""


def cut_off_failure() -> Failure:
    """Returns the failure of a stream that ended before its completion."""
    return Failure("stream_cut", "The provider's answer was cut off before it was complete.")


def unreadable_failure() -> Failure:
    """Returns the failure of a completion that has only content which the client's dialect cannot express."""
    return Failure("unreadable_answer", "The provider's answer has nothing that this API can express.")


def malformed_failure() -> Failure:
    """Returns the failure of a completion that cannot be parsed."""
    return Failure("malformed_answer", "The provider's answer could not be read.")
