"""The files that an agent may have the gateway read and write: those of its session's directory, and no others.

Each step of a path is opened relative to the one before it and never through a link, so neither `..` nor a symbolic
link leads out, also not one that is made meanwhile. Only regular files are opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

MAX_FILE_BYTES = 8 * 1024 * 1024
"""Size of a file that is read or written."""


class FileRefused(Exception):
    """The request is refused; the message is a sentence for the agent."""


def read_text(directory: Path, path: str, *, line: int | None = None, limit: int | None = None) -> str:
    """Returns the text of a file: all of it, or `limit` lines from `line` on, which begins at 1."""
    with _opened(directory, path, os.O_RDONLY) as file:
        content = _read(file)
    text = content.decode("utf-8", "replace")
    if line is None and limit is None:
        return text
    first = max((line or 1) - 1, 0)
    lines = text.splitlines(keepends=True)[first:]
    return "".join(lines if limit is None else lines[: max(limit, 0)])


def write_text(directory: Path, path: str, text: str) -> None:
    """Replaces the content of a file, which it makes if need be, with the directories above it."""
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_FILE_BYTES:
        raise FileRefused(f"The text has more than {MAX_FILE_BYTES} bytes.")
    with _opened(directory, path, os.O_WRONLY | os.O_CREAT, make=True) as file:
        os.ftruncate(file, 0)
        while data:
            data = data[os.write(file, data) :]


def _read(file: int) -> bytes:
    pieces = []
    size = 0
    while piece := os.read(file, 64 * 1024):
        size += len(piece)
        if size > MAX_FILE_BYTES:
            raise FileRefused(f"The file has more than {MAX_FILE_BYTES} bytes.")
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def _opened(directory: Path, path: str, flags: int, *, make: bool = False) -> Iterator[int]:
    """Opens a file for the block."""
    *folders, name = _steps(directory, path)
    # Without O_NONBLOCK a pipe that nobody writes to would hold the thread.
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        file = _open_below(directory, folders, name, flags, make=make)
    except FileNotFoundError:
        raise FileRefused("There is no such file.") from None
    except (OSError, ValueError):
        raise FileRefused("The path leads through something that is no directory or file of the session.") from None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FileRefused("The path is no regular file.")
        yield file
    except OSError:
        raise FileRefused("The file could not be read or written.") from None
    finally:
        os.close(file)


def _open_below(directory: Path, folders: list[str], name: str, flags: int, *, make: bool) -> int:
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            if make:
                _make(folder, at)
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(name, flags, mode=0o600, dir_fd=at)
    finally:
        os.close(at)


def _make(folder: str, at: int) -> None:
    try:
        os.mkdir(folder, mode=0o700, dir_fd=at)
    except FileExistsError:
        return


def _steps(directory: Path, path: str) -> list[str]:
    """Returns the steps from the directory to the file."""
    given = PurePosixPath(path)
    try:
        below = given.relative_to(directory) if given.is_absolute() else given
    except ValueError:
        raise FileRefused(f"The path is outside of the session's directory, {directory}.") from None
    if not below.parts or ".." in below.parts:
        raise FileRefused(f"The path is outside of the session's directory, {directory}.")
    return list(below.parts)
