"""Which providers have nothing left on the operator's account there: told by the quota's timer, asked by routing."""

from __future__ import annotations

EXHAUSTED: set[str] = set()
"""Names of providers that routing skips."""
