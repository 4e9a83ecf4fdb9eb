"""The tasks of the sessions whose deltas the mesh streams count, by the sessions' streams."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from core_app.lifecycle import process_wide
from faces.mesh.models import TaskRun

LIMIT = 20_000
"""Sources that a process remembers; the oldest are forgotten, and looked up again."""


@dataclass(frozen=True, slots=True)
class Source:
    """The task and agent of a session."""

    task_id: str
    space_id: str | None
    agent_id: str


class Sources:
    """The known sources; None for a stream of no task."""

    def __init__(self) -> None:
        self._known: dict[int, Source | None] = {}

    def get(self, stream_id: int) -> Source | None:
        """Returns what is known of a stream."""
        return self._known.get(stream_id)

    def unknown(self, stream_ids: Collection[int]) -> set[int]:
        """Returns the streams that have to be looked up first."""
        return {stream_id for stream_id in stream_ids if stream_id not in self._known}

    def load(self, stream_ids: Collection[int]) -> None:
        """Looks streams up."""
        rows = TaskRun.objects.filter(stream_id__in=stream_ids)
        found = {
            stream_id: Source(task_id, space_id, agent_id)
            for stream_id, task_id, space_id, agent_id in rows.values_list(
                "stream_id", "task__public_id", "task__space_ref", "agent_id"
            )
        }
        for stream_id in stream_ids:
            self._known[stream_id] = found.get(stream_id)
        for forgotten in list(self._known)[: max(0, len(self._known) - LIMIT)]:
            self._known.pop(forgotten, None)

    def clear(self) -> None:
        """Forgets all."""
        self._known.clear()


SOURCES = process_wide(Sources(), reset=Sources.clear)
"""Process-wide instance."""
