"""A log filter for outages of Redis and PostgreSQL: one line a minute, with advice.

Left alone, the libraries log an outage every second with a traceback, or once for each connection. Records about
anything else pass unchanged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from core_app.log_lines import error_summary

REPEAT_SECONDS = 60.0

REDIS_ADVICE = (
    "Redis does not answer. Until it does, events reach their followers through the database, up to a second late, and"
    " none is lost. Check that it runs, and that GATEWAY_REDIS_URL has its address and password; no restart is needed."
)
POSTGRESQL_ADVICE = (
    "PostgreSQL closed a connection or does not answer. Until it answers, requests get a 503 and runs wait. Check that"
    " it runs and has connections left, and that GATEWAY_DATABASE_URL is right; no restart is needed."
)


@dataclass(frozen=True, slots=True)
class _Outage:
    """The outages of one library, logged as `event`: records of loggers that begin with `logger`, with one of
    `exceptions` or with a text that begins with one of `prefixes`. Exceptions are named package.Class, because an
    embedded gateway loads neither library.
    """

    logger: str
    event: str
    sentence: str
    exceptions: frozenset[str]
    prefixes: tuple[str, ...] = ()


_DISCONNECTED = frozenset({"psycopg.OperationalError", "psycopg.InterfaceError"})
LIBRARIES = (
    _Outage("channels_redis", "redis_away", REDIS_ADVICE, frozenset({"redis.RedisError", "builtins.OSError"})),
    _Outage(
        "psycopg.pool",
        "postgresql_away",
        POSTGRESQL_ADVICE,
        _DISCONNECTED,
        ("error connecting in", "discarding closed"),
    ),
    _Outage("procrastinate", "postgresql_away", POSTGRESQL_ADVICE, _DISCONNECTED),
)


class OutageFilter(logging.Filter):
    """A handler's filter that rewrites the first record of an outage in REPEAT_SECONDS and drops the others."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        library = next((known for known in LIBRARIES if record.name.startswith(known.logger)), None)
        if library is None:
            return True
        cause = _cause(record, library)
        if cause is None:
            return True
        now = self._now()
        if now - self._logged_at.get(library.sentence, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._logged_at[library.sentence] = now
        record.msg, record.args = library.event, ()
        # Fields of the line, by which the name stays one that can be alerted on.
        record.cause, record.advice = cause, library.sentence
        record.exc_info = record.exc_text = record.stack_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def _cause(record: logging.LogRecord, library: _Outage) -> str | None:
    """Returns the outage's cause in one line; None when the record is about something else."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    while error is not None:
        if any(
            f"{kind.__module__.partition('.')[0]}.{kind.__name__}" in library.exceptions for kind in type(error).__mro__
        ):
            return error_summary(error)
        error = error.__cause__ or error.__context__
    text = record.getMessage()
    return text.partition("\n")[0].partition(": <")[0] if text.startswith(library.prefixes or ("\0",)) else None
