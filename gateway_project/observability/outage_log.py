"""What libraries say of a Redis or a PostgreSQL that is away: once in a while, in a sentence that says what to do.

By themselves they say it every second, with a traceback, or once for each connection. What is no such failure passes
as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from core_app.log_lines import error_summary

REPEAT_SECONDS = 60.0

REDIS = (
    "Redis does not answer. Events reach their readers by way of the database meanwhile, up to a second late, and none"
    " is lost. See that it runs, and that GATEWAY_REDIS_URL has its address and password; nothing has to be restarted."
)
POSTGRESQL = (
    "PostgreSQL closed a connection or does not answer. While it is away requests are answered 503 and runs wait. See"
    " that it runs and has connections left, and that GATEWAY_DATABASE_URL is right; nothing has to be restarted."
)


@dataclass(frozen=True, slots=True)
class _Library:
    """The loggers that begin with `logger`, the exceptions that are an outage, and how records without one begin that
    are. Exceptions by name, as package.Class: an embedded gateway loads neither library."""

    logger: str
    sentence: str
    failures: frozenset[str]
    always: tuple[str, ...] = ()


_DISCONNECTED = frozenset({"psycopg.OperationalError", "psycopg.InterfaceError"})
LIBRARIES = (
    _Library("channels_redis", REDIS, frozenset({"redis.RedisError", "builtins.OSError"})),
    _Library("psycopg.pool", POSTGRESQL, _DISCONNECTED, ("error connecting in", "discarding closed")),
    _Library("procrastinate", POSTGRESQL, _DISCONNECTED),
)


class OutageFilter(logging.Filter):
    """Of a handler. Rewrites the first such record of REPEAT_SECONDS and drops the others."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        library = next((known for known in LIBRARIES if record.name.startswith(known.logger)), None)
        if library is None:
            return True
        cause = _cause(record, library)
        if cause is None:
            return True
        now = self._now()
        if now - self._said_at.get(library.sentence, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._said_at[library.sentence] = now
        record.msg, record.args = f"{library.sentence} ({cause})", ()
        record.exc_info = record.exc_text = record.stack_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def _cause(record: logging.LogRecord, library: _Library) -> str | None:
    """What happened, in a line; None where the record is about something else."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    while error is not None:
        if any(
            f"{kind.__module__.partition('.')[0]}.{kind.__name__}" in library.failures for kind in type(error).__mro__
        ):
            return error_summary(error)
        error = error.__cause__ or error.__context__
    text = record.getMessage()
    return text.partition("\n")[0].partition(": <")[0] if text.startswith(library.always or ("\0",)) else None
