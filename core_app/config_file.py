"""The reader of the operator's configuration file (GATEWAY_CONFIG), which is read again when it changes.

The file is checked at most once a second, and parsed only when its time or size has changed. When it breaks while the
gateway runs, the fault is logged and the last good configuration stays in force; when it is broken at the first read,
the error is raised. The rooms give the sections their meaning: an app names its sections in `config_sections` of its
AppConfig, by the path of their `Section`, and in `config_references` a function that finds references to nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
from django.apps import apps
from django.conf import settings
from django.utils.module_loading import import_string
from pydantic import ValidationError

from core_app.config_faults import fault_parts
from core_app.instances import process_wide
from core_app.suggestion import suggestion
from core_app.yaml_file import YamlFault, yaml_read

logger = structlog.get_logger(__name__)

CHECK_SECONDS = 1.0
"""The pause between two checks of the file, so that a look-up costs nothing and a change is in force within seconds."""

T = TypeVar("T")


class ConfigurationError(Exception):
    """A configuration that cannot be used. The message is a sentence that names the file and the path in it; `path` and
    `reason` are its parts, empty where the file as a whole is at fault."""

    def __init__(self, message: str, *, path: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason


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
    """Returns the file's top level, empty when there is no file. ConfigurationError when it is not a YAML mapping, or
    has a section that no room knows."""
    try:
        document = yaml_read(path)
    except YamlFault as fault:
        raise ConfigurationError(str(fault)) from None
    known = section_paths()
    for name in document:
        # As in Compose files: a place for anchors.
        if name not in known and not str(name).startswith("x-"):
            raise ConfigurationError(_unknown_section(path.name, str(name), known))
    return document


def section_paths() -> Mapping[str, str]:
    """Returns the path of every section's `Section`, by its name in the file."""
    return {name: path for app in apps.get_app_configs() for name, path in getattr(app, "config_sections", {}).items()}


def sections_load() -> None:
    """Reads all sections; raises ConfigurationError for the first that is not valid."""
    for path in section_paths().values():
        import_string(path).get()


def dangling_references() -> list[str]:
    """Returns a sentence for each name in the configuration in force that refers to nothing: an alias to a model that
    no provider has, an agent of a type that is not installed."""
    finders = [path for app in apps.get_app_configs() if (path := getattr(app, "config_references", ""))]
    return [sentence for path in finders for sentence in import_string(path)()]


_LITELLM = frozenset({"model_list", "litellm_settings", "general_settings", "router_settings", "environment_variables"})


def _unknown_section(file: str, name: str, known: Mapping[str, str]) -> str:
    if name in _LITELLM:
        return (
            f"{file}: '{name}' is a section of LiteLLM. Write each model_name of model_list under models.model_aliases"
            " with its litellm_params.model ('deepseek/deepseek-chat'), keys into .env (DEEPSEEK_API_KEY=…) and each"
            " api_base under models.providers: docs/configuration.md, 'From LiteLLM'."
        )
    if name in _OF_MODELS:
        return f"{file}: '{name}' belongs under 'models:', indented by two spaces."
    return f"{file}: '{name}' is not a section.{suggestion(name, known)} There are: {', '.join(sorted(known))}."


_OF_MODELS = frozenset({
    "providers", "default_model", "model_routing", "model_aliases", "aliases", "fallback_chain", "defaults",
})  # fmt: skip
"""Fields of the section `models` that are found at the top level of files."""


class _Rejections:
    """The log of refused files: each version's fault once, however many sections meet it."""

    def __init__(self) -> None:
        self._last: tuple[_Stamp, str] | None = None

    def log(self, error: ConfigurationError, stamp: _Stamp) -> None:
        if self._last != (stamp, str(error)):
            self._last = (stamp, str(error))
            logger.error("configuration_rejected", reason=f"{error} The configuration in force before stays in force.")

    def forget(self) -> None:
        self._last = None


_REJECTIONS = process_wide(_Rejections(), reset=_Rejections.forget)


class Section(Generic[T]):
    """One section of the file as a typed value, cached until the file changes."""

    def __init__(self, name: str, parse: Callable[[Any], T], form: Any = None) -> None:
        """`form` is the type that `parse` validates against, for messages that name the right field."""
        self._name = name
        self._form = form
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
                _REJECTIONS.log(error, self._stamp)

    def check(self, parse: Callable[[Any], T]) -> T:
        """Returns what `parse` makes of the section in the file now; ConfigurationError when it is not valid."""
        path = Path(settings.GATEWAY_CONFIG)
        return self._parse_with(parse, path)

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
            _REJECTIONS.log(error, stamp)
            self._value = kept
        else:
            if kept is not None and kept != self._value:
                logger.info("configuration_reloaded", section=self._name, file=str(path))
        self._stamp = stamp
        return self._value

    def _parse_file(self, path: Path) -> T:
        return self._parse_with(self._parse, path)

    def _parse_with(self, parse: Callable[[Any], T], path: Path) -> T:
        try:
            return parse(read(path).get(self._name))
        except ValidationError as error:
            where, reason = fault_parts(error, section=self._name, form=self._form)
            raise ConfigurationError(f"{path.name}: {where} {reason}", path=where, reason=reason) from None
