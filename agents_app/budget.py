"""Budgets of a run's tenant, key and model for the agent loop: the same budgets as those of relayed calls.

Each model request reserves the most that it may cost, so that many runs at once do not spend what one of them may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from pydantic_ai.messages import ModelMessage

from agents_app.context_window import estimated_tokens
from inference_app.catalogue.resolution import Candidate
from inference_app.spend.budgets import BUDGETS, Reservation, model_names
from inference_app.spend.request_price import known_price
from inference_app.spend.usage import Usage


@dataclass(frozen=True, slots=True)
class RunBudget:
    """The budgets that count one model's requests; an `agents_app.ready_model.Budget`. `output_tokens` are the most
    that one response can have."""

    tenant_id: int
    key_id: int | None
    candidate: Candidate
    output_tokens: int

    async def reserve(self, messages: Sequence[ModelMessage]) -> Reservation | None:
        """See `Budget.reserve`."""
        if not BUDGETS.has_rules(self.tenant_id):
            return None
        given = estimated_tokens(messages) or 1
        usd = known_price(self.candidate, Usage(given, self.output_tokens))
        tokens = given + self.output_tokens
        return await BUDGETS.reserve(self.tenant_id, self.key_id, model_names(self.candidate), tokens, usd or _NOTHING)


_NOTHING = Decimal(0)
