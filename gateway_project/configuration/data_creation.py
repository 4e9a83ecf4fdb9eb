"""Permission to create the data directory, its database and its secret key.

Only the commands that start a gateway have it. A command that was started in the wrong directory would otherwise make
an empty gateway there, and do its work, a backup for instance, on that.
"""

from __future__ import annotations

_ALLOWED = [True]


def is_allowed() -> bool:
    """Returns True unless the command of this process forbade it."""
    return _ALLOWED[0]


def forbid() -> None:
    """Makes settings that are read from now on create nothing."""
    _ALLOWED[0] = False
