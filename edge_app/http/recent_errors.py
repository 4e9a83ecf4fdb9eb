"""The newest internal errors of this process by their ids, for the operator's page.

The log has their tracebacks. Nothing of a request is kept here: an exception's text may quote one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from structlog.contextvars import get_contextvars

from core_app import clock
from core_app.lifecycle import process_wide

KEPT = 100
MAX_ID = 200


@dataclass(frozen=True, slots=True)
class RecentError:
    """An internal error: its id in the log, the name of its exception, and the id of its HTTP request, if any."""

    error_id: str
    kind: str
    request_id: str
    at: datetime


class RecentErrors:
    """The newest KEPT errors of this process. Used from any thread: a deque's operations are atomic."""

    def __init__(self) -> None:
        self._errors: deque[RecentError] = deque(maxlen=KEPT)

    def note(self, error_id: str, kind: str) -> None:
        """Keeps an error in place of the oldest."""
        request_id = str(get_contextvars().get("request_id", ""))[:MAX_ID]
        self._errors.append(RecentError(error_id, kind, request_id, clock.now()))

    def newest(self, limit: int) -> list[RecentError]:
        """Returns the newest errors, the newest first."""
        return list(self._errors)[::-1][:limit]

    def reset(self) -> None:
        """Forgets all errors."""
        self._errors.clear()


RECENT_ERRORS = process_wide(RecentErrors(), reset=RecentErrors.reset)
"""Process-wide instance."""
