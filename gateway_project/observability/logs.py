"""Logging: structlog for the gateway's own lines, and the standard library's records through the same handler.

One line per event on standard error, as JSON or, on a terminal, coloured (GATEWAY_LOG_FORMAT auto, json, console).
Values that are secrets by their name or their form are replaced before a line is written. Django calls `configure`
once, with the LOGGING setting.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any, TextIO

from gateway_project.process import lean_imports

lean_imports.load_logging()

import structlog  # noqa: E402
from structlog.typing import EventDict, Processor, WrappedLogger  # noqa: E402

from core_app.jsontext import encode_text  # noqa: E402
from core_app.log_lines import FastLine  # noqa: E402
from core_app.tracing import trace_ids  # noqa: E402
from core_app.visible_text import visible_text  # noqa: E402
from gateway_project.observability.console import console_renderer  # noqa: E402
from gateway_project.observability.outage_log import OutageFilter  # noqa: E402
from gateway_project.observability.security_log import SecurityFilter  # noqa: E402

FORMATS = ("auto", "json", "console")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

REDACTED = "[redacted]"
SECRET_NAMES = frozenset({
    "api_key", "apikey", "x_api_key", "authorization", "proxy_authorization", "cookie", "set_cookie", "password",
    "secret", "secret_key", "token", "access_token", "refresh_token", "signature",
})  # fmt: skip
_NAMED = re.compile(
    r"(?i)\b((?:x-)?api[-_]?key|token|access_token|secret|password)(['\"]?\s*[=:]\s*['\"]?)([^\s&'\",;}]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
# The `resultUrl` of a callback ends in its credential.
_CALLBACK = re.compile(r"(/v1/callbacks/)[^/\s\"'?]+")
# The password in the URL of a database or of Redis.
_PASSWORD = re.compile(r"(\w+://[^\s:/@]*:)[^\s/@]+(?=@)")
_ISSUED = re.compile(r"\b(ag[ctw]_[A-Za-z0-9_-]{2}|whsec_|sk-)[A-Za-z0-9+/=_-]{8,}")
_SUSPICIOUS = (
    "key", "token", "secret", "password", "bearer", "basic", "callbacks", "://", "agw_", "agt_", "agc_", "whsec_",
    "sk-", "authorization", "cookie", "signature",
)  # fmt: skip
"""Every text that an expression or a name above would change contains one of these. They are searched first, because
that takes half a microsecond and the expressions ten."""

BATCH_SECONDS, BATCH_LINES = 0.1, 500
"""Limits of a batch of request lines. A write for each line would cost a request 2 µs on a pipe, and more on systems
that intercept system calls."""

# Each of these repeats, per request or per start, what the gateway's own lines or responses say.
QUIET_LOGGERS = {
    "uvicorn": logging.WARNING,
    "daphne": logging.WARNING,
    "django.channels.server": logging.ERROR,
    "django.request": logging.ERROR,
    "asyncio": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "httpx": logging.WARNING,
    # A line per job, and a warning for each notification of a job that another worker took.
    "procrastinate": logging.WARNING,
    "httpx2": logging.WARNING,
    "httpcore2": logging.WARNING,
    "httpcore": logging.WARNING,
    # It logs the ids of sessions, and every malformed answer with its text; the gateway says what matters of them.
    "mcp": logging.CRITICAL,
    "openai": logging.WARNING,
    "anthropic": logging.WARNING,
}


def configure(options: Mapping[str, str]) -> None:
    """Configures structlog and the standard library; `options` is the LOGGING setting: `level` and `format`."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_trace_ids,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        drop_request,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Loggers keep the configuration of their first use, so a second one would reach some of them only.
    if not structlog.is_configured():
        _configure_structlog(shared)
    handler = (logging.StreamHandler if _is_console(options["format"]) else BatchingHandler)(sys.stderr)
    handler.addFilter(OutageFilter())
    handler.addFilter(SecurityFilter())
    handler.setFormatter(Formatter(foreign_pre_chain=shared, processors=_renderers(options["format"])))
    # These are in no line of ours, and cost three system calls each.
    logging.logProcesses = logging.logMultiprocessing = logging.logThreads = False
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(_level_number(options["level"]))
    for name, level in QUIET_LOGGERS.items():
        quiet = logging.getLogger(name)
        quiet.handlers, quiet.propagate = [], True
        quiet.setLevel(max(level, root.level))
    logging.captureWarnings(True)
    # Static files under ASGI: Django reads their iterator in a thread, which is intended.
    warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
    # The filters of a logger do not apply to records of its children.
    for name in ("uvicorn.error", "django.request"):
        logging.getLogger(name).filters = [DuplicateFilter()]


class Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders records; in request lines it formats the time first."""

    def format(self, record: logging.LogRecord) -> str:
        line: object = record.msg
        if type(line) is FastLine:
            record = logging.makeLogRecord(record.__dict__)
            record.msg = {**line, "timestamp": _stamp(line["timestamp"])}
        return super().format(record)


class BatchingHandler(logging.StreamHandler):  # type: ignore[type-arg]  # takes no argument at run time
    """Writes JSON. Request lines are rendered and written in batches, up to BATCH_SECONDS late.

    Other records are written at once, after the request lines before them. A process that is killed loses the request
    lines of its last tenth of a second.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._batch: list[FastLine] = []
        self._filled = threading.Event()
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        line: object = record.msg
        if type(line) is not FastLine:
            self._write_batch()
            super().emit(record)
            return
        self._batch.append(line)
        if len(self._batch) == 1:
            self._wake_writer()
        elif len(self._batch) >= BATCH_LINES:
            self._write_batch()

    def flush(self) -> None:
        """Writes the batch too."""
        with self.lock or nullcontext():
            self._write_batch()
            super().flush()

    def _wake_writer(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_forever, name="gateway-log", daemon=True)
            self._writer.start()
        self._filled.set()

    def _write_forever(self) -> None:
        while True:
            self._filled.wait()
            self._filled.clear()
            time.sleep(BATCH_SECONDS)
            self.flush()

    def _write_batch(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        try:
            self.stream.write("".join([f"{_render(line)}{self.terminator}" for line in batch]))
        except Exception:  # as in every handler: a log that cannot be written must not stop the process
            self.handleError(logging.makeLogRecord({"msg": "lines of requests"}))


def _render(line: FastLine) -> str:
    line["timestamp"] = _stamp(line["timestamp"])
    text = encode_text(line)
    lowered = text.lower()
    return encode_text(redact(line)) if any(mark in lowered for mark in _SUSPICIOUS) else text


def _stamp(moment: datetime) -> str:
    """Formats a time as structlog does."""
    return moment.isoformat().replace("+00:00", "Z")


def drop_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Removes the request that Django adds to its records: it would be shown with its query string."""
    event.pop("request", None)
    return event


def add_trace_ids(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Adds the ids of the trace and the span that the line belongs to, if any."""
    if (ids := trace_ids()) is not None:
        event["trace_id"], event["span_id"] = ids
    return event


class DuplicateFilter(logging.Filter):
    """Drops records that repeat the gateway's own, or that are about no failure: uvicorn's for a socket refused with an
    HTTP response and for a stream whose slow reader was cut off, Django's for each 503 of an unavailable database.
    """

    MESSAGES = (
        "ASGI callable returned without completing handshake.",
        "ASGI callable returned without completing response.",
        # Each with a traceback or a line that any client can cause.
        "Invalid UTF-8 sequence received from client.",
        "Unsupported upgrade request.",
    )

    def filter(self, record: logging.LogRecord) -> bool:
        unavailable = getattr(record, "status_code", None) == 503 and not record.exc_info
        return record.msg not in self.MESSAGES and not unavailable


def redact(value: Any) -> Any:
    """Copies `value` without secrets, which are known by the name of their field or by their form inside a text."""
    if isinstance(value, str):
        return _redact_text(value)
    if isinstance(value, bytes):
        return _redact_text(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {name: REDACTED if _is_secret(name) and item else redact(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    # Otherwise its text would be rendered later, unredacted.
    return _redact_text(repr(value))


def _configure_structlog(shared: list[Processor]) -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _renderers(form: str) -> list[Processor]:
    console = _is_console(form)
    exceptions: Processor = structlog.processors.format_exc_info
    renderer: Processor = (
        console_renderer()
        if console
        # As request lines are written: one form in the whole file. Values are plain since they were redacted.
        else structlog.processors.JSONRenderer(serializer=lambda event, **_: encode_text(event))
    )
    visible: list[Processor] = [_escape_controls] if console else []
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, exceptions, _redact_event, *visible, renderer]


def _is_console(form: str) -> bool:
    return form == "console" or (form != "json" and sys.stderr.isatty())


def _escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Shows control characters as escapes: ESC in a path would command the terminal of whoever reads the log. JSON
    escapes them anyway."""
    return {name: visible_text(value) if isinstance(value, str) else value for name, value in event.items()}


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    redacted: EventDict = redact(event)
    return redacted


def _redact_text(text: str) -> str:
    text = _NAMED.sub(rf"\1\2{REDACTED}", text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    for form in (_CALLBACK, _PASSWORD, _ISSUED):
        text = form.sub(rf"\1{REDACTED}", text)
    return text


def _is_secret(name: object) -> bool:
    text = name.decode("latin-1") if isinstance(name, bytes) else str(name)
    return text.lower().replace("-", "_") in SECRET_NAMES


def _level_number(level: str) -> int:
    # A system check refuses an unknown level, and needs logging to be configured.
    return getattr(logging, level.upper(), logging.INFO) if level.upper() in LEVELS else logging.INFO
