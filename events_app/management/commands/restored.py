"""`gateway restored`: tells the gateway that the database has former data now, where it cannot notice by itself.

It notices failovers, restored dumps and backups, recoveries and crashes. It does not notice rows that were put into the
tables it serves, and a copy of a stopped PostgreSQL's files that replaced them.
"""

from __future__ import annotations

from typing import Any

from core_app.command import GatewayCommand
from events_app.incarnation import incarnation_restored


class Command(GatewayCommand):
    help = "Begins a generation: clients that saw events which are not in the database are told so."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Generation {incarnation_restored()} has begun.")
