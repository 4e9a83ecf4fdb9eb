"""Spend: usage, prices, metering into the ledger and the daily sums, budgets, and limits per path."""
