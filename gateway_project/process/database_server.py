"""PostgreSQL at the start, before Django connects: whether it answers, and the lock of a deployment's only process.

A module of its own, because an embedded gateway needs neither, and importing psycopg takes 0.07 s of a start.
"""

from __future__ import annotations

import psycopg

REACH_SECONDS = 5
ADVISORY_KEY = 0x67617465776179
"""`gateway` in ASCII: the advisory lock of the only process that may serve a PostgreSQL without Redis."""


class Unreachable(Exception):
    """PostgreSQL does not answer; the text is the first line of psycopg's."""


def reach(url: str) -> None:
    """Connects once; raises Unreachable at once, where the pool would try for half a minute."""
    try:
        psycopg.connect(url, connect_timeout=REACH_SECONDS).close()
    except psycopg.Error as error:
        raise Unreachable((str(error).strip() or type(error).__name__).splitlines()[0]) from None


def lock(url: str) -> psycopg.Connection | None:
    """Takes the lock, which PostgreSQL keeps for this connection; None when another process has it."""
    connection = psycopg.connect(
        url, autocommit=True, connect_timeout=REACH_SECONDS, application_name="gateway exclusive"
    )
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_KEY]).fetchone()
    if row and row[0]:
        return connection
    connection.close()
    return None
