"""Models ready for requests, as an engine gives them to the agent loop, with what the gateway knows about each.

The loop receives them in order of preference. It goes to the next only if one has failed before its first byte and its
retries are used up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from pydantic_ai.messages import ModelMessage, ModelResponseStreamEvent
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from agents_app.engine import SessionSpec
from core_app.tracing import Span
from inference_app.spend.budgets import Reservation
from inference_app.spend.usage import Usage

CostOf = Callable[[Usage], Decimal | None]
"""The cost of a response with a usage; None: it is unknown."""


class Budget(Protocol):
    """The budgets that limit a model (`agents_app.budget`)."""

    async def reserve(self, messages: Sequence[ModelMessage]) -> Reservation | None:
        """Reserves the most that a request with these messages may cost; None without a budget.

        Raises BudgetSpent or MinuteBudgetSpent."""


class _Unlimited:
    """The budget of a model that costs nothing."""

    async def reserve(self, messages: Sequence[ModelMessage]) -> None:
        """Returns None: there is no limit."""


class Circuit(Protocol):
    """The circuit of a model (`agents_app.circuit`), which its requests open and close."""

    def cooldown_remaining(self) -> float | None:
        """Returns the seconds until the model may be asked; None: now."""


class _Closed:
    """The circuit of a model that always may be asked."""

    def cooldown_remaining(self) -> None:
        """Returns None: now."""


class Spending(Protocol):
    """The spend of a request (`agents_app.request_spend`), as far as a model has to do with it."""

    def begin(self) -> None:
        """Notes that the request is sent now, or once more."""

    def end_attempt(self, *, may_have_cost: bool) -> None:
        """Notes that the request has failed and may be sent once more."""


class Spans(Protocol):
    """The spans of a request (`agents_app.spans`), as far as a model has to do with them."""

    current: Span

    def start(self) -> None:
        """Starts the span of an attempt."""

    def end(self, error: BaseException | None = None) -> None:
        """Ends the span of the attempt, which failed with `error`."""


Feed = Callable[[ModelResponseStreamEvent], Awaitable[bool]]
"""Takes the next event of a response; returns false to stop the response."""


def begin_at_once(spending: Spending, spans: Spans, feed: Feed | None = None) -> bool:
    """Begins a request to a model that does not send it more than once."""
    spending.begin()
    spans.start()
    return False


_CLOSED = _Closed()
_UNLIMITED = _Unlimited()


class Observe(Protocol):
    """See `ServedModel`."""

    def __call__(self, spending: Spending, spans: Spans, feed: Feed | None = None) -> bool: ...


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model ready for requests. `name` is `provider:model`, as in usage and events.

    `observe` is called before each request, so that its attempts are counted; it returns true if the model feeds its
    events itself, past the library. `says_end`: a complete response has a
    finish reason, so one without it was cut off and must not be stored as a completion. `may_be_blank`: white space
    counts as a completion; otherwise the model is asked again. `may_be_away`: a provider that fails may answer later,
    so a run may wait for it. `longest_wait`: the longest rest of the only model that is waited for, in seconds.
    `context_window` is in tokens, None: unknown; `max_messages`: the most in one request. `simplify` is called when the
    provider refused a request: it returns true if the next one will have less that could be refused."""

    name: str
    model: Model
    cost_of: CostOf
    settings: ModelSettings = field(default_factory=lambda: ModelSettings())
    observe: Observe = begin_at_once
    context_window: int | None = None
    max_messages: int | None = None
    simplify: Callable[[], bool] = lambda: False
    json_schema: bool = True
    says_end: bool = True
    may_be_blank: bool = False
    may_be_away: bool = True
    budget: Budget = _UNLIMITED
    circuit: Circuit = _CLOSED
    longest_wait: float = 0.0


Serve = Callable[[SessionSpec], Sequence[ServedModel]]
"""Finds the models for a session; raises a GatewayError when there is none."""
