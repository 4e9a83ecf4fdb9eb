"""Kinds of ledger rows: who made the request, and how well its usage is known.

`session` and `inference` (a relayed call) are usage that a provider reported. `…_estimate` is a request that ended
without a report: it was aborted, broke, timed out, or its provider reports none. `…_open` is a request that a provider
works on now, with its estimate so far; a row that stays open is one whose process was killed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

Origin = Literal["session", "inference"]

OPEN_KINDS = ("session_open", "inference_open")
ESTIMATED_KINDS = ("session_estimate", "inference_estimate")

REFRESH_SECONDS = 15.0
"""The time after which the row of a running request is written again, with its estimate and a new `created_at`."""

ABANDONED_AFTER = timedelta(seconds=4 * REFRESH_SECONDS)
"""The age at which an open row belongs to no process: budgets count it from then on. Before, the process that made the
request holds a reservation for it."""

FOLDED_AFTER = timedelta(hours=1)
"""The age at which an open row is folded into its day, and can no longer be replaced: longer than any pause after which
a process may still finish its request."""


def open_kind(origin: Origin) -> str:
    """Returns the kind of a request that is running."""
    return f"{origin}_open"


def estimated_kind(origin: Origin) -> str:
    """Returns the kind of a request whose usage nobody reported."""
    return f"{origin}_estimate"
