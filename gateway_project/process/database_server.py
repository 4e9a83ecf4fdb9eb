"""What a start asks of PostgreSQL before Django does: whether it answers, and the lock of the one process that serves.

By itself, because an embedded gateway has neither to ask, and its library takes a start 0.07 s.
"""

from __future__ import annotations

import psycopg

REACH_SECONDS = 5
ADVISORY_KEY = 0x67617465776179
"""`gateway` in ASCII: the advisory lock of the one process that serves a PostgreSQL without Redis."""


class Unreachable(Exception):
    """It does not answer; the text is what its library says of that, in a line."""


def reach(url: str) -> None:
    """Raises Unreachable at once, where the pool would try for half a minute."""
    try:
        psycopg.connect(url, connect_timeout=REACH_SECONDS).close()
    except psycopg.Error as error:
        raise Unreachable((str(error).strip() or type(error).__name__).splitlines()[0]) from None


def lock(url: str) -> psycopg.Connection | None:
    """The lock, which PostgreSQL keeps for this connection; None when another process has it."""
    connection = psycopg.connect(
        url, autocommit=True, connect_timeout=REACH_SECONDS, application_name="gateway exclusive"
    )
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_KEY]).fetchone()
    if row and row[0]:
        return connection
    connection.close()
    return None
