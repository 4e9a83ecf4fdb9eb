"""Variables whose value may stand in a file: `NAME`, or `NAME_FILE` with the path of a file that holds it.

Container platforms mount secrets as files, where neither `inspect` nor a child process shows them. The variable
itself goes before its file; an empty one counts as not set. A file that changed is read again at the next look, so a
rotated key needs no restart where the value is asked for when it is used.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

MAX_BYTES = 64 * 1024
"""A secret is a line; whoever names a log or a device by mistake is told so instead of filling the memory."""


class UnreadableSecret(Exception):
    """A file that a variable names cannot be used; the text names the variable and never shows the content."""


def read_variable(name: str) -> str | None:
    """The value of `name`, else the content of the file that `<name>_FILE` names; None when neither says anything.

    Costs a `stat` where there is a file. Raises UnreadableSecret.
    """
    if value := os.environ.get(name):
        return value
    path = os.environ.get(f"{name}_FILE")
    return (_content_of(f"{name}_FILE", path) or None) if path else None


def _content_of(setting: str, path: str) -> str:
    try:
        status = Path(path).stat()
        return _content(path, status.st_mtime_ns, status.st_size, status.st_ino)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UnreadableSecret(f"{setting} names '{path}', which cannot be read ({reason}).") from None
    except _TooLarge:
        raise UnreadableSecret(f"{setting} names '{path}', which is no secret: over {MAX_BYTES} bytes.") from None


class _TooLarge(Exception):
    """More than MAX_BYTES."""


@lru_cache(maxsize=64)
def _content(path: str, modified: int, size: int, inode: int) -> str:
    """The text without the newline that editors leave at its end; the arguments after `path` say which version."""
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _TooLarge
    return content.decode("utf-8").strip()
