"""The reader of the operator's configuration file (GATEWAY_CONFIG), which is read again when it changes.

The file is checked at most once a second, and parsed only when its time or size has changed. When it breaks while the
gateway runs, the fault is logged and the last good configuration stays in force; when it is broken at the first read,
the error is raised. The rooms give the sections their meaning.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
import yaml
from django.conf import settings
from pydantic import ValidationError

logger = structlog.get_logger(__name__)

CHECK_SECONDS = 1.0
"""The pause between two checks of the file, so that a look-up costs nothing and a change is in force within seconds."""

T = TypeVar("T")


class ConfigurationError(Exception):
    """A configuration that cannot be used. The message is a sentence that names the file and the path in it."""


@dataclass(frozen=True, slots=True)
class _Stamp:
    path: Path
    modified_ns: int
    size: int


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except FileNotFoundError:
        return _Stamp(path, 0, -1)
    return _Stamp(path, status.st_mtime_ns, status.st_size)


def read(path: Path) -> Mapping[str, Any]:
    """Returns the file's top level, empty when there is no file. ConfigurationError when it is not a YAML mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"{path.name} cannot be read as UTF-8 text.") from None
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path.name} is not valid YAML{where}.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path.name} must be a mapping at its top level.")
    return document


def fault_sentence(error: ValidationError, *, file: str, section: str) -> str:
    """Returns a sentence about the first fault of a section: the file, the path to the fault, and the fault."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = ".".join(str(step) for step in (section, *fault["loc"]) if not str(step).startswith("function-"))
    message = fault["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{file}: {path}: {message[:1].lower()}{message[1:]}."


def _log_rejected(error: ConfigurationError) -> None:
    logger.error("configuration_rejected", reason=f"{error} The configuration in force before stays in force.")


class Section(Generic[T]):
    """One section of the file as a typed value, cached until the file changes."""

    def __init__(self, name: str, parse: Callable[[Any], T]) -> None:
        self._name = name
        self._parse = parse
        self._lock = threading.Lock()
        self._value: T | None = None
        self._stamp: _Stamp | None = None
        self._given: Any = None
        self._checked = 0.0

    def get(self) -> T:
        """Returns the section's current value. ConfigurationError only when there has never been a good one."""
        given = settings.GATEWAY_CONFIG
        if self._value is not None and given is self._given and time.monotonic() - self._checked < CHECK_SECONDS:
            return self._value
        with self._lock:
            self._given = given
            return self._reload(Path(given))

    def forget(self) -> None:
        """Drops the value, so that the next `get` reads the file: a setting or a key in the environment has changed."""
        with self._lock:
            self._stamp, self._value, self._given, self._checked = None, None, None, 0.0

    def refresh(self) -> None:
        """Parses the file again even if it has not changed; an invalid section leaves the last good value in force."""
        with self._lock:
            if self._stamp is None or self._value is None:
                return
            path = self._stamp.path
            try:
                self._value = self._parse_file(path)
            except ConfigurationError as error:
                _log_rejected(error)

    def check(self, parse: Callable[[Any], T]) -> T:
        """Returns what `parse` makes of the section in the file now; ConfigurationError when it is not valid."""
        path = Path(settings.GATEWAY_CONFIG)
        try:
            return parse(read(path).get(self._name))
        except ValidationError as error:
            raise ConfigurationError(fault_sentence(error, file=path.name, section=self._name)) from None

    def _reload(self, path: Path) -> T:
        stamp = _stamp(path)
        self._checked = time.monotonic()
        if self._value is not None and stamp == self._stamp:
            return self._value
        kept = self._value if self._stamp is not None and self._stamp.path == path else None
        try:
            self._value = self._parse_file(path)
        except ConfigurationError as error:
            if kept is None:
                raise
            _log_rejected(error)
            self._value = kept
        self._stamp = stamp
        return self._value

    def _parse_file(self, path: Path) -> T:
        try:
            return self._parse(read(path).get(self._name))
        except ValidationError as error:
            raise ConfigurationError(fault_sentence(error, file=path.name, section=self._name)) from None
