"""A copy of the checkout as `make run` leaves it: an environment that has everything, so that nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.stack.tree import tree_copy


def checkout_prepare(target: Path) -> Path:
    """Makes the copy; its packages are those of this environment."""
    target.mkdir()
    tree_copy(target, "Makefile", "requirements.lock", ".env.example")
    environment = target / ".venv"
    (environment / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", environment)
    (environment / "lib").symlink_to(Path(sys.prefix) / "lib")
    (environment / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    making = ["make", "-C", str(target), "-o", ".venv/bin/python", ".venv/bin/gateway"]
    subprocess.run(making, check=True, capture_output=True)
    (environment / "runtime.stamp").touch()
    return target


def group_lives(leader: int) -> bool:
    """Returns True while a process of the group is there."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True
