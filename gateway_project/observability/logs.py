"""Logs: structlog for what the gateway says itself, the standard library's records through the same door.

One line per event on standard error, JSON or, on a terminal, coloured (GATEWAY_LOG_FORMAT auto, json, console).
Whatever carries a secret by name or by form is replaced before it is written. Django calls `configure` once,
with the LOGGING setting.
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
from gateway_project.observability.outage_log import OutageFilter  # noqa: E402

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
_ADDRESS = re.compile(r"(/v1/callbacks/)[^/\s\"'?]+")
# In the address of a database or of Redis.
_PASSWORD = re.compile(r"(\w+://[^\s:/@]*:)[^\s/@]+(?=@)")
_ISSUED = re.compile(r"\b(ag[wt]_[A-Za-z0-9_-]{2}|whsec_|sk-)[A-Za-z0-9+/=_-]{8,}")
_SUSPICIOUS = (
    "key", "token", "secret", "password", "bearer", "basic", "callbacks", "://", "agw_", "agt_", "whsec_", "sk-",
    "authorization", "cookie", "signature",
)  # fmt: skip
"""One of these is in every text that an expression or a name above would change: looked for first, because looking
takes half a microsecond and the expressions ten."""

GATHER_SECONDS, GATHER_LINES = 0.1, 500
"""How long lines of requests wait for each other: a system call for each would be a tenth of a relayed request."""

# Each says per request or per start what the gateway's own lines or answers say already.
QUIET_LOGGERS = {
    "uvicorn": logging.WARNING,
    "daphne": logging.WARNING,
    "django.channels.server": logging.ERROR,
    "django.request": logging.ERROR,
    "asyncio": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "httpx": logging.WARNING,
    # A line per job, and a warning whenever a notification came for a job that another worker took.
    "procrastinate": logging.WARNING,
    "httpx2": logging.WARNING,
    "httpcore2": logging.WARNING,
    "httpcore": logging.WARNING,
    "openai": logging.WARNING,
    "anthropic": logging.WARNING,
}


def configure(options: Mapping[str, str]) -> None:
    """Sets up both worlds; `options` is the LOGGING setting: `level` and `format`."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        trace_named,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        request_dropped,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Loggers keep what they were first used with, so a second configuration would reach some of them only.
    if not structlog.is_configured():
        _configure_own(shared)
    handler = (logging.StreamHandler if _is_console(options["format"]) else Gathering)(sys.stderr)
    handler.addFilter(OutageFilter())
    handler.setFormatter(Form(foreign_pre_chain=shared, processors=_rendering(options["format"])))
    # In no line of ours, and three system calls for each.
    logging.logProcesses = logging.logMultiprocessing = logging.logThreads = False
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(_known_level(options["level"]))
    for name, level in QUIET_LOGGERS.items():
        quiet = logging.getLogger(name)
        quiet.handlers, quiet.propagate = [], True
        quiet.setLevel(max(level, root.level))
    logging.captureWarnings(True)
    # Static files under ASGI: Django reads their iterator in a thread, which is what is wanted.
    warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
    # Filters of a logger are not asked for what its children say.
    for name in ("uvicorn.error", "django.request"):
        logging.getLogger(name).filters = [SaidAlready()]


class Form(structlog.stdlib.ProcessorFormatter):
    """Renders records; the lines of requests bring their time as it is."""

    def format(self, record: logging.LogRecord) -> str:
        line: object = record.msg
        if type(line) is FastLine:
            record = logging.makeLogRecord(record.__dict__)
            record.msg = {**line, "timestamp": _stamp(line["timestamp"])}
        return super().format(record)


class Gathering(logging.StreamHandler):  # type: ignore[type-arg]  # the class takes none when it runs
    """Writes JSON; what comes with every request is rendered and written together, GATHER_SECONDS late at most.

    Other records are written at once, after what was gathered before them. A process that is killed loses the
    lines of its last moment.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._gathered: list[FastLine] = []
        self._waiting = threading.Event()
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        line: object = record.msg
        if type(line) is not FastLine:
            self._write_gathered()
            super().emit(record)
            return
        self._gathered.append(line)
        if len(self._gathered) == 1:
            self._wake()
        elif len(self._gathered) >= GATHER_LINES:
            self._write_gathered()

    def flush(self) -> None:
        """Writes what was gathered too."""
        with self.lock or nullcontext():
            self._write_gathered()
            super().flush()

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_for_ever, name="gateway-log", daemon=True)
            self._writer.start()
        self._waiting.set()

    def _write_for_ever(self) -> None:
        while True:
            self._waiting.wait()
            self._waiting.clear()
            time.sleep(GATHER_SECONDS)
            self.flush()

    def _write_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        try:
            self.stream.write("".join([f"{_rendered(line)}{self.terminator}" for line in gathered]))
        except Exception:  # as every handler does: a log that cannot be written ends nothing
            self.handleError(logging.makeLogRecord({"msg": "lines of requests"}))


def _rendered(line: FastLine) -> str:
    line["timestamp"] = _stamp(line["timestamp"])
    text = encode_text(line)
    lowered = text.lower()
    return encode_text(redact(line)) if any(mark in lowered for mark in _SUSPICIOUS) else text


def _stamp(moment: datetime) -> str:
    """As structlog writes it."""
    return moment.isoformat().replace("+00:00", "Z")


def request_dropped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Takes away the request that Django gives with its records: it is shown with its query string."""
    event.pop("request", None)
    return event


def trace_named(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Adds the trace and the span that the line belongs to, where there are any."""
    if (ids := trace_ids()) is not None:
        event["trace_id"], event["span_id"] = ids
    return event


class SaidAlready(logging.Filter):
    """Drops what uvicorn takes for a failure: a socket that was refused with an HTTP answer, and an event stream that
    is cut because its reader takes nothing. And Django's line for each 503: `database_unavailable` says why."""

    MESSAGES = (
        "ASGI callable returned without completing handshake.",
        "ASGI callable returned without completing response.",
    )

    def filter(self, record: logging.LogRecord) -> bool:
        unavailable = getattr(record, "status_code", None) == 503 and not record.exc_info
        return record.msg not in self.MESSAGES and not unavailable


def redact(value: Any) -> Any:
    """A copy of `value` without secrets: by the name they stand under, or by their form inside a text."""
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
    # Else it would be rendered after this, as it is.
    return _redact_text(repr(value))


def _configure_own(shared: list[Processor]) -> None:
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


def _rendering(form: str) -> list[Processor]:
    console = _is_console(form)
    exceptions: Processor = structlog.processors.format_exc_info
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False)
    )
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, exceptions, _redact_event, renderer]


def _is_console(form: str) -> bool:
    return form == "console" or (form != "json" and sys.stderr.isatty())


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    redacted: EventDict = redact(event)
    return redacted


def _redact_text(text: str) -> str:
    text = _NAMED.sub(rf"\1\2{REDACTED}", text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    for form in (_ADDRESS, _PASSWORD, _ISSUED):
        text = form.sub(rf"\1{REDACTED}", text)
    return text


def _is_secret(name: object) -> bool:
    text = name.decode("latin-1") if isinstance(name, bytes) else str(name)
    return text.lower().replace("-", "_") in SECRET_NAMES


def _known_level(level: str) -> int:
    # An unknown level is refused by a system check, which needs logging to have been set up.
    return getattr(logging, level.upper(), logging.INFO) if level.upper() in LEVELS else logging.INFO
