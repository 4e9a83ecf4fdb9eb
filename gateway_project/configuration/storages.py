"""Django's storages: static files, and the artifacts of tasks and spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def storages(database: str | None, artifacts: Path | str | None, data: Path) -> dict[str, dict[str, Any]]:
    """Returns STORAGES. Artifacts are in the storage class `database`, or in the directory `artifacts` where one is
    set; an embedded gateway, which has no such class, has them below its data directory."""
    in_files = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        # Files of tenants: not readable by others on this machine.
        "OPTIONS": {
            "location": artifacts or data / "artifacts",
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    }
    return {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
        "artifacts": {"BACKEND": database} if database and not artifacts else in_files,
    }
