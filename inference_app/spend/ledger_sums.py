"""Sums of the ledger over a time: the spend that a budget counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tenants_app.selectors.usage_union import UsageFilter, cost_usd, fetch_rows, usage_union


@dataclass(frozen=True, slots=True)
class Spend:
    """Tokens of input and output together, and US dollars as far as prices are known."""

    tokens: int = 0
    usd: Decimal = Decimal(0)

    def __add__(self, other: Spend) -> Spend:
        return Spend(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: Spend) -> Spend:
        return Spend(self.tokens - other.tokens, self.usd - other.usd)

    def __bool__(self) -> bool:
        return bool(self.tokens or self.usd)


_SELECT = "SELECT COALESCE(SUM(p.input_tokens + p.output_tokens), 0), COALESCE(SUM(p.cost), 0) FROM p"


def spend_between(tenant_id: int, key_id: int | None, model: str, since: datetime, until: datetime) -> Spend:
    """Returns the spend of a tenant in [since, until), of sessions and of relayed calls. `key_id` None: of all keys;
    `model` empty: of all models, else `provider:model` or the model.

    Whole days come from the sums per day, as far as they are folded, so that a month costs a day of rows and not
    thirty. Requests that run are left out: their processes hold reservations for them.
    """
    named, parameters = usage_union(UsageFilter(tenant_id, since, until, key_id, settled_only=True), runs=False)
    where = ""
    if model:
        # A name may contain the wildcards of LIKE.
        pattern = re.sub(r"([%_!])", r"!\1", model)
        where = "WHERE p.model = %s OR p.model LIKE %s ESCAPE '!'"
        parameters = [*parameters, model, f"%:{pattern}"]
    [sums] = fetch_rows(" ".join((named, _SELECT, where)), parameters)
    return Spend(int(sums[0]), cost_usd(int(sums[1])))
