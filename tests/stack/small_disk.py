"""A file system of its own for PostgreSQL, which a test may fill: a tmpfs that shrinks to what it holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SIZE_MB = 4096
"""Only a limit: a tmpfs takes the memory of what is in it."""

COMMAND_SECONDS = 30


class DiskMissing(Exception):
    """No file system can be mounted here; the text says why."""


class SmallDisk:
    """A mounted directory below `within`. Raises DiskMissing; `end` unmounts it."""

    def __init__(self, within: Path) -> None:
        if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
            raise DiskMissing("No disk is filled: only root of Linux can mount one.")
        self.directory = within / "disk"
        self.directory.mkdir()
        try:
            _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=755", "tmpfs", str(self.directory))
        except subprocess.CalledProcessError as error:
            raise DiskMissing(f"No disk is filled: {error.stderr.decode().strip()}") from None

    def fill(self) -> None:
        """Leaves no free block. Whoever writes meanwhile may take the last ones, so it is repeated until it holds."""
        while True:
            found = os.statvfs(self.directory)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            try:
                self._resize(f"{used}")
            except subprocess.CalledProcessError:
                continue
            return

    def free(self) -> None:
        """Gives the space back."""
        self._resize(f"{SIZE_MB}m")

    def end(self) -> None:
        """Unmounts it, now or when its last user ends."""
        subprocess.run(("umount", "--lazy", str(self.directory)), check=False, timeout=COMMAND_SECONDS)

    def _resize(self, size: str) -> None:
        _run("mount", "-o", f"remount,size={size}", str(self.directory))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=COMMAND_SECONDS, capture_output=True)
