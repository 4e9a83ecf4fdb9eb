"""Lines of the log for a terminal: the time of day, and for a request its status, what it was, and how long it took."""

from __future__ import annotations

import sys

from structlog.dev import ConsoleRenderer
from structlog.typing import EventDict, Processor, WrappedLogger

ACCESS = "gateway.access"
_RESET, _DIM, _GREEN, _YELLOW, _RED = "\x1b[0m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[31m"
_SHOWN = ("status", "method", "path", "ms", "tenant", "request_id", "event", "level", "logger", "timestamp")


def console_renderer() -> Processor:
    """Returns the renderer, in colour where standard error is a terminal."""
    coloured = sys.stderr.isatty()
    others = ConsoleRenderer(colors=coloured, pad_event_to=0, pad_level=False)

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        event["timestamp"] = _time_of_day(str(event.get("timestamp", "")))
        if event.get("logger") == ACCESS and event.get("event") == "request":
            return request_line(event, coloured=coloured)
        return str(others(logger, method, event))

    return render


def request_line(event: EventDict, *, coloured: bool) -> str:
    """Returns a request as `02:15:10 400 POST /v1/sessions 3 ms default req_…`; further fields follow."""
    status = int(event.get("status") or 0)
    colour = _RED if status >= 500 else _YELLOW if status >= 400 else _GREEN
    shown = str(status or "---")
    tenant, request_id = event.get("tenant") or "-", event.get("request_id") or ""
    words = [
        str(event["timestamp"]),
        f"{colour}{shown}{_RESET}" if coloured else shown,
        str(event.get("method", "")),
        str(event.get("path", "")),
        f"{float(event.get('ms') or 0):.0f} ms",
        str(tenant),
        f"{_DIM}{request_id}{_RESET}" if coloured else str(request_id),
    ]
    more = [f"{name}={value}" for name, value in event.items() if name not in _SHOWN]
    return " ".join([*words, *more]).rstrip()


def _time_of_day(timestamp: str) -> str:
    """Returns the hours, minutes and seconds of an ISO time; of anything else the whole text."""
    _, separator, rest = timestamp.partition("T")
    return rest[:8] if separator else timestamp
