"""The number of runs that each agent has running, which a room above counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from core_app.lifecycle import process_wide

Running = Mapping[tuple[int, str], int]
"""Running runs by tenant and agent."""


class Load:
    """The source of the numbers, set once by the room that has the runs."""

    def __init__(self) -> None:
        self._source: Callable[[], Running] = dict

    def source_set(self, source: Callable[[], Running]) -> None:
        """Sets what counts the running runs; a query."""
        self._source = source

    def running(self) -> Running:
        """Counts the running runs of all tenants."""
        return self._source()


LOAD = process_wide(Load())
"""Process-wide instance."""
