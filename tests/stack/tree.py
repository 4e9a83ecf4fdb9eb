"""A copy of the gateway's own files, in which a test may add or remove a face."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GATEWAY = ("*_app", "faces", "gateway_project", "config", "manage.py", "pyproject.toml")
_LIST = re.compile(r"^FACES = \[\n", re.MULTILINE)


def tree_copy(target: Path, *more: str) -> None:
    """Copies the gateway, and what else is named, to `target`."""
    for pattern in (*GATEWAY, *more):
        for source in ROOT.glob(pattern):
            if source.is_dir():
                shutil.copytree(source, target / source.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)


def face_remove(tree: Path, face: str) -> None:
    """Removes a face's folder and its line in the settings."""
    shutil.rmtree(tree / "faces" / face)
    settings = tree / "gateway_project" / "settings.py"
    text, removed = re.subn(
        rf'^ +"faces\.{face}",\n', "", settings.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE
    )
    assert removed == 1
    settings.write_text(text, encoding="utf-8")


def face_add(tree: Path, line: str) -> None:
    """Adds a line to `FACES` in the settings."""
    settings = tree / "gateway_project" / "settings.py"
    text, added = _LIST.subn(lambda found: found[0] + line, settings.read_text(encoding="utf-8"))
    assert added == 1
    settings.write_text(text, encoding="utf-8")
