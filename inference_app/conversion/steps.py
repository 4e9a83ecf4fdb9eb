"""What happens in an answer, in words of no wire: readers of a provider's wire make steps, writers of a client's
dialect take them.

An answer is Start, then content in order, then Finish, perhaps UsageReport, and End; or it is Failure, which may come
at any moment and is the last. Calls follow each other: a second one begins when the first has ended. An answer that
is not streamed is the same steps, each with its whole text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from inference_app.conversion.usage import Usage

Json = dict[str, Any]


class FinishReason(StrEnum):
    """Why an answer ended, in chat's words."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class Start:
    """The first of all; None where the provider did not say."""

    id: str | None = None
    model: str | None = None
    created: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer; `logprobs` as chat gives them for its tokens."""

    delta: str
    logprobs: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thought."""

    delta: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A piece of the sentence in which the model declines."""

    delta: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool is called. The id is unique within the answer; `custom` where the wire itself knows free-form calls."""

    id: str
    name: str
    custom: bool = False


@dataclass(frozen=True, slots=True)
class CallInput:
    """A piece of the open call's arguments (JSON), or of a custom call's input."""

    delta: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The open call is over; not `complete` when the model ran out of tokens within its arguments."""

    complete: bool = True


@dataclass(frozen=True, slots=True)
class Finish:
    """The model ended by itself; `sequence` is the stop sequence it met, where the provider says so."""

    reason: FinishReason
    sequence: str | None = None


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The tokens of the whole answer."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class End:
    """Nothing follows."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer broke. `code` names the fault; `message` is a sentence for the client without a provider's text."""

    code: str
    message: str
    status: int = 502


Step = Start | Text | Reasoning | Refusal | CallStart | CallInput | CallEnd | Finish | UsageReport | End | Failure


class Reader(Protocol):
    """Reads one answer of a provider's wire."""

    def read(self, event: Json) -> Iterable[Step]:
        """One event of a stream."""

    def end(self) -> Iterable[Step]:
        """The stream has ended; Failure unless the answer was complete."""

    def read_body(self, body: Json) -> Iterable[Step]:
        """A whole answer."""


class Writer(Protocol):
    """Writes one answer in a client's dialect."""

    def write(self, step: Step) -> list[Json]:
        """The events that the step makes."""

    def final_body(self) -> Json:
        """The answer as one object, after End."""


def cut_off_failure() -> Failure:
    """A stream that ended before its answer did."""
    return Failure("stream_cut", "The provider's answer was cut off before it was complete.")


def malformed_failure() -> Failure:
    """A provider's answer that is none."""
    return Failure("malformed_answer", "The provider's answer could not be read.")
