"""Incarnations of the database: it begins a new generation of positions whenever it may have gone back in time.

PostgreSQL is recognised by server, database, table and timeline, and by a table that a crash empties
(`incarnation_postgresql`), SQLite by a file beside it (`incarnation_sqlite`). Where that is not what the newest row of
`Incarnation` says, a row is added before anything else is written. A generation that nothing was lost before resets
nobody: every position that was seen lies before its base.
"""

from __future__ import annotations

import time

import structlog
from django.db import connection
from django.utils.module_loading import import_string

GENERATION_NOW = "COALESCE((SELECT MAX(n) FROM events_app_incarnation), 0)"
"""SQL for the generation that a stream's next events belong to."""

GENERATION_FROM = f"FROM (SELECT {GENERATION_NOW} AS n) i"

GENERATION_MOVE = (
    "generation = CASE WHEN generation < i.n THEN i.n ELSE generation END,"
    " bases = CASE WHEN generation < i.n THEN bases || ' ' || i.n || ':' || head ELSE bases END"
)
"""SQL of the statement that moves heads: begins GENERATION_FROM's generation where the stream is not in it yet."""

EPOCH = 1_767_225_600
"""2026-01-01, in seconds since 1970."""

logger = structlog.get_logger("gateway.incarnation")


def incarnation_begin() -> None:
    """Compares the database with the newest incarnation, at the start of a process that serves or works.

    The first call of all makes generation 0. With PostgreSQL every new connection is compared, too.
    """
    import_string(f"events_app.incarnation_{connection.vendor}.begin")()


def incarnation_restored() -> int:
    """Begins a generation although the database is recognised, because somebody put former data into it. Returns its
    number."""
    incarnation_begin()  # for the rare database that was never served by this version
    import_string(f"events_app.incarnation_{connection.vendor}.forget")()
    incarnation_begin()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {GENERATION_NOW}")
        return int(cursor.fetchone()[0])


def incarnation_end() -> None:
    """Notes that this process, the only one of its SQLite, stopped in order and that nothing it wrote is lost."""
    if connection.vendor == "sqlite":
        import_string("events_app.incarnation_sqlite.end")()


def generation_next(newest: int) -> int:
    """Returns the number of a generation that begins now, after `newest`.

    It is the second, counted from 2026: the same backup may be restored twice, and both copies know the same numbers.
    """
    return max(newest + 1, int(time.time()) - EPOCH)


def log_generation(generation: int, identity: str) -> None:
    """Logs that a generation began: clients that saw events which are lost are told so."""
    logger.warning(
        "generation_began",
        generation=generation,
        identity=identity,
        meaning="The database may have gone back in time. Readers that are ahead of it are reset.",
    )
