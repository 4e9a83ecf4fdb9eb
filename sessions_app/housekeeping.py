"""Periodic housekeeping in batches: retention, and the fold of ledger entries into sums per day.

`CHORES` is the only list. Where legs run in the server process, the sweep runs each chore in a loop of its own. With
workers, each chore is a periodic job (`sessions_app.tasks`). Only one process at a time runs a chore.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core_app.database import advisory_lock
from events_app.removal import GoOn
from sessions_app.services.retention import retention_apply_all
from tenants_app.services.usage import BATCH as FOLD_BATCH
from tenants_app.services.usage import usage_fold


@dataclass(frozen=True, slots=True)
class Chore:
    """A periodic task that works in batches and asks `go_on` before each."""

    name: str
    """Jobs in the database are named `housekeeping.<name>`."""
    lock: int
    """Key of the advisory lock: the name in ASCII."""
    batches: Callable[[GoOn], object]
    seconds: float
    """Pause between two rounds of a loop."""
    cron: str
    """Schedule of the job; a sixth field counts seconds."""

    def run(self, go_on: GoOn) -> None:
        """Runs one round, unless another process is running one."""
        with advisory_lock(self.lock) as mine:
            if mine:
                self.batches(go_on)


def _apply_retention(go_on: GoOn) -> None:
    retention_apply_all(go_on=go_on)


def _fold_ledger(go_on: GoOn) -> None:
    while go_on() and usage_fold() == FOLD_BATCH:
        pass


CHORES = (
    Chore("retention", 0x72657461696E, _apply_retention, seconds=3600.0, cron="17 * * * *"),
    # Reports read unfolded entries one by one: 15,000 of them at 1,000 responses a second.
    Chore("usage", 0x726F6C6C7570, _fold_ledger, seconds=15.0, cron="* * * * * */15"),
)
