"""The part that reads a changed configuration file within seconds, whether or not a request needs it.

The sections log what becomes of a change (`core_app.config_file`); names in it that refer to nothing are logged here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

from django.conf import settings

from core_app.config_file import sections_load
from core_app.lifecycle import Periodic, process_wide
from gateway_project.configuration.startup_file import references_report

SECONDS = 2.0


class ConfigurationWatch(Periodic):
    """The loop that looks at the file. It does not end: a fault is logged once, and the next change is read again."""

    def __init__(self) -> None:
        super().__init__("configuration_watch", self.look, SECONDS, first=False)
        self._seen: tuple[Path, int] | None = None
        self._dangling: Collection[str] = ()

    async def look(self) -> None:
        """Reads the file if it changed since the last look."""
        path = Path(settings.GATEWAY_CONFIG)
        seen = (path, await asyncio.to_thread(_modified, path))
        if seen != self._seen:
            first, self._seen = self._seen is None, seen
            if not first:
                self._dangling = await asyncio.to_thread(_read, self._dangling)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _read(known: Collection[str]) -> Collection[str]:
    """Loads the sections, which log what they refuse, and reports what is missing now and was not `known`."""
    sections_load()
    return references_report(known)


CONFIGURATION_WATCH = process_wide(ConfigurationWatch())
"""Process-wide instance, started by `Gateway`."""
