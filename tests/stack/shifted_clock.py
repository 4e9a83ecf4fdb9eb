"""A wall clock that is wrong in one process: a library, compiled here, that the loader puts before the C library.

Python's own clock and those of every C library are shifted alike, which a patch of `time` would not reach.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shift.c")
COMPILE_SECONDS = 60


class ClockMissing(Exception):
    """The clock cannot be shifted here; the text says why."""


class ShiftedClock:
    """The library, compiled into a directory. Raises ClockMissing without Linux or a C compiler."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            raise ClockMissing("No clock is shifted: that needs Linux and a C compiler (cc).")
        self._library = directory / "clock_shift.so"
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(self._library), str(SOURCE)]
        subprocess.run(command, check=True, timeout=COMPILE_SECONDS)

    def variables(self, seconds: int) -> dict[str, str]:
        """Returns the environment of a process whose clock is ahead by `seconds`, or behind if they are negative."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT_SECONDS": str(seconds)}
