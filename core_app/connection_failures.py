"""The reason of the last failed attempt to connect to the database: the pool that waits for a connection has none."""

from __future__ import annotations

import time

from core_app.lifecycle import process_wide

KEPT_SECONDS = 60.0
"""A reason is of no use for a failure much later."""

AWAY_SECONDS = 1.5
"""The server counts as away for this time after a failed attempt; the next caller then tries again."""

PUBLIC_CAUSES = (
    ("connection refused", "connection refused"),
    ("timeout", "no answer in time"),
    ("timed out", "no answer in time"),
    ("starting up", "it is starting"),
    ("shutting down", "it is shutting down"),
    ("remaining connection slots", "it has no connection left"),
    ("too many connections", "it has no connection left"),
    ("password authentication failed", "it refuses the gateway's role"),
    ("could not translate host name", "its host name does not resolve"),
    ("name or service not known", "its host name does not resolve"),
    ("does not exist", "it does not know the role or the database"),
    ("database or disk is full", "its disk is full"),
    ("read-only", "it takes no writes"),
)
"""Words for clients by a part of the driver's text, which names hosts and roles."""


class ConnectionFailures:
    """The last failure of this process, until a connection is made."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0.0

    def note(self, error: BaseException) -> None:
        """Remembers why an attempt failed."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        self._text = lines[0] if lines else type(error).__name__
        self._at = time.monotonic()

    def clear(self) -> None:
        """Forgets it: a connection was made."""
        self._text = ""

    def away(self) -> str:
        """Returns the driver's first line while the last attempt failed and is younger than AWAY_SECONDS."""
        return self._text if self._text and time.monotonic() - self._at < AWAY_SECONDS else ""

    def reason(self) -> str:
        """Returns the driver's first line; an empty text when no recent attempt failed."""
        return self._text if self._text and time.monotonic() - self._at < KEPT_SECONDS else ""


FAILURES = process_wide(ConnectionFailures(), reset=ConnectionFailures.clear)
"""Process-wide instance."""


def public_cause(text: str) -> str:
    """Returns what a client may know of a failure, in words that follow a sentence; empty for an unknown one."""
    lowered = text.lower()
    cause = next((words for part, words in PUBLIC_CAUSES if part in lowered), "")
    return f" ({cause})" if cause else ""
