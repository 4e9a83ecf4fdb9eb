"""People's files: read whole, changed only when they still are what was read, and never half.

A symbolic link is followed, so it stays a link; a file keeps its mode and, where it has several names, all of them. A
file that is read-only, or that changed meanwhile, is left alone and the reason is told.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from gateway_client.errors import GatewayError

LARGEST = 8 * 1024 * 1024
PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was read. `path` is where it really lies; `content` is None while there is none."""

    path: Path
    content: bytes | None
    mode: int = PRIVATE

    @property
    def text(self) -> str:
        """The content as text. Raises GatewayError for a file that is none."""
        try:
            return (self.content or b"").decode("utf-8")
        except UnicodeDecodeError as error:
            raise GatewayError(f"{self.path} is not UTF-8 text: it is left alone.") from error


def file_read(path: Path) -> FileState:
    """Reads a file. Raises GatewayError when it cannot be read or is not a plain file."""
    try:
        real = path.resolve()
        if not real.exists():
            return FileState(real, None)
        found = real.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            raise GatewayError(f"{path} is not a plain file of up to {LARGEST >> 20} MiB: it is left alone.")
        return FileState(real, real.read_bytes(), stat.S_IMODE(found.st_mode))
    except (OSError, RuntimeError) as error:
        raise GatewayError(f"{path} cannot be read ({_reason(error)}).") from error


def file_write(before: FileState, content: bytes, mode: int | None = None) -> None:
    """Writes a file that still is as `before`. Raises GatewayError, and leaves it as it is, when it cannot."""
    _check(before)
    try:
        before.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        wanted = before.mode if mode is None else mode
        if before.content is not None and before.path.stat().st_nlink > 1:
            _write_in_place(before.path, content, wanted)
        else:
            _replace(before.path, content, wanted)
    except OSError as error:
        raise GatewayError(f"{before.path} cannot be written ({_reason(error)}): it is as it was.") from error


def file_remove(before: FileState) -> None:
    """Removes a file that still is as `before`."""
    _check(before)
    try:
        before.path.unlink()
    except OSError as error:
        raise GatewayError(f"{before.path} cannot be removed ({_reason(error)}).") from error


def _check(before: FileState) -> None:
    if file_read(before.path).content != before.content:
        raise GatewayError(f"{before.path} was changed by another program just now: it is left alone. Try again.")
    if before.content is not None and not os.access(before.path, os.W_OK):
        raise GatewayError(f"{before.path} is read-only: it is left alone. Make it writable, or change it by hand.")
    if before.content is not None and not before.mode & stat.S_IWUSR:
        raise GatewayError(f"{before.path} is read-only: it is left alone. Make it writable, or change it by hand.")


def _replace(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(mode)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _write_in_place(path: Path, content: bytes, mode: int) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    path.chmod(mode)


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
