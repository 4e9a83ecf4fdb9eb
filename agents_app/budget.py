"""Budgets of a run's tenant, key and model for the agent loop: the same budgets as those of relayed calls.

A run reserves nothing, because it makes one request after the other. Each response counts from its checkpoint on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from agents_app.engine import Usage
from inference_app.spend.budgets import BUDGETS


@dataclass(frozen=True, slots=True)
class RunBudget:
    """The budgets that count one model's responses; an `agents_app.ready_model.Budget`."""

    tenant_id: int
    key_id: int | None
    names: Sequence[str]

    async def exhausted_reason(self) -> str | None:
        """Returns a sentence about the exhausted budget; None if the model may be called."""
        return await BUDGETS.exhausted_reason(self.tenant_id, self.key_id, self.names)

    def record_spend(self, usage: Usage) -> None:
        """Counts the spend of a response; the ledger already has it."""
        tokens = usage.input_tokens + usage.output_tokens
        BUDGETS.record_spend(self.tenant_id, self.key_id, self.names, tokens, usage.cost_usd or Decimal(0))
