"""Models ready for requests, as an engine gives them to the agent loop, with what the gateway knows about each.

The loop receives them in order of preference. It goes to the next only if one has failed before its first byte and its
retries are used up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from agents_app.engine import SessionSpec
from inference_app.spend.budgets import Reservation

CostOf = Callable[[int, int, int, int, Decimal | None], Decimal | None]
"""(input, output, cached, written tokens, public price) → the cost of the response; None: it is unknown. Cached tokens
were read from the provider's cache, written ones written to it."""


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
    """The circuit of a model, which its requests open and close (`agents_app.circuit`)."""

    def cooldown_remaining(self) -> float | None:
        """Returns the seconds until the model may be asked; None: now."""

    def observe_request(self) -> AbstractContextManager[None]:
        """Surrounds one try of a request."""

    def note_failed_request(self, error: BaseException) -> None:
        """Counts a request that failed for good, however often it was tried."""


class _Closed:
    """The circuit of a model that always may be asked."""

    def cooldown_remaining(self) -> None:
        """Returns None: now."""

    def observe_request(self) -> AbstractContextManager[None]:
        return nullcontext()

    def note_failed_request(self, error: BaseException) -> None:
        """Counts nothing."""


_CLOSED = _Closed()
_UNLIMITED = _Unlimited()


@dataclass(frozen=True, slots=True)
class RetryRule:
    """The number of retries before the first byte, and the bounds of the delay between them, in seconds."""

    retries: int = 2
    base_delay: float = 0.5
    max_delay: float = 10.0


def _public_price(
    input_tokens: int, output_tokens: int, cached_tokens: int, written_tokens: int, listed: Decimal | None
) -> Decimal | None:
    return listed


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model ready for requests. `name` is `provider:model`, as in usage and events.

    `says_end`: a complete response has a finish reason, so one without it was cut off and must not be stored as a
    completion. `may_be_blank`: white space counts as a completion; otherwise the model is asked again. `may_be_away`:
    a provider that fails may answer later, so a run may wait for it."""

    name: str
    model: Model
    settings: ModelSettings = field(default_factory=lambda: ModelSettings())
    context_window: int | None = None
    json_schema: bool = True
    says_end: bool = True
    may_be_blank: bool = False
    may_be_away: bool = True
    first_event_seconds: float | None = None
    budget: Budget = _UNLIMITED
    circuit: Circuit = _CLOSED
    retry: RetryRule = RetryRule()
    cost_of: CostOf = _public_price


Serve = Callable[[SessionSpec], Sequence[ServedModel]]
"""Finds the models for a session; raises a GatewayError when there is none."""
