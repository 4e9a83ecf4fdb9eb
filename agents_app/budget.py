"""The budgets of a run's tenant, key and model, as the agent loop goes by them: the same that relayed calls do.

Nothing is held beforehand: a run asks one request after the other. What each cost counts from its checkpoint on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from agents_app.engine import Usage
from inference_app.spend.budgets import BUDGETS


@dataclass(frozen=True, slots=True)
class RunBudget:
    """Those that count one model's responses; an `agents_app.ready_model.Budget`."""

    tenant_id: int
    key_id: int | None
    names: Sequence[str]

    async def exhausted_reason(self) -> str | None:
        """Why the model may not be asked now, as a sentence about a budget; None where it may."""
        return await BUDGETS.exhausted_reason(self.tenant_id, self.key_id, self.names)

    def record_spend(self, usage: Usage) -> None:
        """A response's spend, which is in the ledger."""
        tokens = usage.input_tokens + usage.output_tokens
        BUDGETS.record_spend(self.tenant_id, self.key_id, self.names, tokens, usage.cost_usd or Decimal(0))
