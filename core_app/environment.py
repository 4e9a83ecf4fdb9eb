"""Environment variables whose value may be in a file: `NAME`, or `NAME_FILE` with the path of the file.

Container platforms mount secrets as files, which neither `inspect` nor a child process shows. The variable takes
precedence over its file; an empty variable counts as not set. A changed file is read again at the next call, so a
rotated key needs no restart where the value is read when it is used.

`environs.FileAwareEnv` does not fit: there the file takes precedence, a file of any size is read, and the error does
not say why it cannot be.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

MAX_BYTES = 64 * 1024
"""A secret is a line. The limit turns a log or a device that was named by mistake into an error."""


class UnreadableSecret(Exception):
    """A file that a variable names cannot be used. The text names the variable and never shows the content."""


def read_variable(name: str) -> str | None:
    """Returns the value of `name`, else the content of the file that `<name>_FILE` names; None without a value.

    Costs one `stat` where there is a file. Raises UnreadableSecret.
    """
    if value := os.environ.get(name):
        return value
    path = os.environ.get(f"{name}_FILE")
    return (_read_secret(f"{name}_FILE", path) or None) if path else None


def _read_secret(setting: str, path: str) -> str:
    try:
        status = Path(path).stat()
        return _read_version(path, status.st_mtime_ns, status.st_size, status.st_ino)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UnreadableSecret(f"{setting} names '{path}', which cannot be read ({reason}).") from None
    except _TooLarge:
        raise UnreadableSecret(f"{setting} names '{path}', which is no secret: over {MAX_BYTES} bytes.") from None


class _TooLarge(Exception):
    """The file has more than MAX_BYTES."""


@lru_cache(maxsize=64)
def _read_version(path: str, modified: int, size: int, inode: int) -> str:
    """Returns the text without the newline that editors add. The arguments after `path` identify its version."""
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _TooLarge
    return content.decode("utf-8").strip()
