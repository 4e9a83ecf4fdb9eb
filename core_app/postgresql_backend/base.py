"""The database wrapper: while attempts to connect fail, it refuses at once, where each caller would wait for the pool.

Callers share few threads. If each waited its full time for a connection, forty requests of one tenant would be answered
within two minutes, and not within seconds.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base
from psycopg import OperationalError

from core_app.connection_failures import FAILURES


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's wrapper. The pool tries again for whoever comes once AWAY_SECONDS have passed since the last failure."""

    def get_new_connection(self, conn_params: Any) -> Any:
        """Returns a connection of the pool; raises OperationalError with the reason while the server is away."""
        if (reason := FAILURES.away()) and self.pool is not None:
            raise OperationalError(reason)
        return super().get_new_connection(conn_params)
