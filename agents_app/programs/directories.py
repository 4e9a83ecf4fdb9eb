"""The directories of sessions whose agents are programs: one each, for its owner only, gone with the session.

Their names say nothing of the sessions. They are on this machine, or on a shared data directory.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import structlog
from django.conf import settings

logger = structlog.get_logger("gateway.agents")


def directory_make(tenant_id: int, session_id: str) -> Path:
    """Returns the directory of a session, which it makes if need be."""
    directory = _directory(tenant_id, session_id)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def directory_remove(tenant_id: int, session_id: str) -> None:
    """Removes the directory of a session with all that is in it; does nothing where there is none."""
    directory = _directory(tenant_id, session_id)
    if not directory.exists():
        return
    # A program may have taken the rights from its own directories.
    shutil.rmtree(directory, onerror=lambda function, path, error: _try_again(Path(path)))
    if directory.exists():
        logger.error("session_directory_not_removed", directory=str(directory))


def _try_again(path: Path) -> None:
    try:
        path.parent.chmod(0o700)
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return


def _directory(tenant_id: int, session_id: str) -> Path:
    key = f"{tenant_id}/{session_id}".encode()
    return Path(settings.GATEWAY_DATA_DIR).resolve() / "agents" / hashlib.sha256(key).hexdigest()[:32]
