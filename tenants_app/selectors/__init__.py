"""Queries of this room's tables."""

from __future__ import annotations

from tenants_app.selectors.ledger import LedgerTotals, UsageRow, ledger_by_model, ledger_totals, usage_rows

__all__ = ["LedgerTotals", "UsageRow", "ledger_by_model", "ledger_totals", "usage_rows"]
