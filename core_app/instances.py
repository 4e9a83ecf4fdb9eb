"""The registry of the process-wide instances: state that lives in modules, listed, and reset by one call.

Apart from `core_app.lifecycle`, which shows the same names, because what is imported before logging is set up must not
import structlog.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProcessWide:
    """An entry of PROCESS_WIDE. `reset` makes the instance forget what it learned; None when it has nothing to forget
    between two lives of the process."""

    instance: object
    reset: Callable[[], object] | None


PROCESS_WIDE: list[ProcessWide] = []
"""All module-level instances that hold state, in the order their modules were imported."""


def process_wide(instance: T, *, reset: Callable[[T], object] | None = None) -> T:
    """Registers `instance` as process-wide and returns it: `CACHE = process_wide(Cache(), reset=Cache.clear)`.

    State of a process lives in a module only this way, so that it can be listed, and reset by one call. A part whose
    `stop` undoes what `start` did needs no `reset`.
    """
    PROCESS_WIDE.append(ProcessWide(instance, None if reset is None else partial(reset, instance)))
    return instance


def reset_process_wide() -> None:
    """Makes all process-wide instances forget what they learned: caches, counts, circuits, configuration read before.
    Tests call it; it may be called while the parts run."""
    for entry in PROCESS_WIDE:
        if entry.reset is not None:
            entry.reset()
