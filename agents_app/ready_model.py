"""What an engine hands the loop: a model that is ready to be asked, and what the gateway knows about it.

`served` is a list in the order of preference; the loop goes to the next only when one has failed before its
first byte and its retries are used up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from agents_app.engine import SessionSpec, Usage

CostOf = Callable[[int, int, int, Decimal | None], Decimal | None]
"""(input, output, cached tokens, public price) → what the response cost, None when nobody knows."""


class Budget(Protocol):
    """What may be spent on a model (`agents_app.budget`)."""

    async def exhausted_reason(self) -> str | None:
        """Why the model may not be asked now, as a sentence about a budget; None where it may."""

    def record_spend(self, usage: Usage) -> None:
        """A response's spend, which is in the ledger."""


class _Unlimited:
    """Of a model that costs nobody anything."""

    async def exhausted_reason(self) -> None:
        """It never is."""

    def record_spend(self, usage: Usage) -> None:
        """Nothing to count."""


class Circuit(Protocol):
    """Whether a model may be asked, and what becomes of asking it (`agents_app.circuit`)."""

    def cooldown_remaining(self) -> float | None:
        """Seconds until it may be asked; None: now."""

    def observe_request(self) -> AbstractContextManager[None]:
        """Around one request."""


class _Closed:
    """Of a model that nobody else fails with."""

    def cooldown_remaining(self) -> None:
        """It does not."""

    def observe_request(self) -> AbstractContextManager[None]:
        return nullcontext()


_CLOSED = _Closed()
_UNLIMITED = _Unlimited()


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How often a request is sent again before its first byte, and how long the pause grows. Seconds."""

    retries: int = 2
    base_delay: float = 0.5
    max_delay: float = 10.0


def _public_price(input_tokens: int, output_tokens: int, cached_tokens: int, listed: Decimal | None) -> Decimal | None:
    return listed


@dataclass(frozen=True, slots=True)
class ServedModel:
    """`name` is `provider:model`, as usage and events call it. `says_end`: a complete response says why it ended, so
    one that does not was cut off; taken for an answer it would be stored as one. `may_be_blank`: white space is an
    answer, where else the model is asked again."""

    name: str
    model: Model
    settings: ModelSettings = field(default_factory=lambda: ModelSettings())
    context_window: int | None = None
    json_schema: bool = True
    says_end: bool = True
    may_be_blank: bool = False
    first_event_seconds: float | None = None
    budget: Budget = _UNLIMITED
    circuit: Circuit = _CLOSED
    retry: RetryRule = RetryRule()
    cost_of: CostOf = _public_price


Serve = Callable[[SessionSpec], Sequence[ServedModel]]
"""Finds the models for a session; raises a GatewayError when there is none."""
