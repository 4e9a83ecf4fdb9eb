"""Django's storages: static files, and the artifacts of tasks and spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def storages(database_url: str, artifacts: Path | str | None, data: Path) -> dict[str, dict[str, Any]]:
    """Returns STORAGES. Artifacts are in PostgreSQL, or in the directory `artifacts` where one is set; an embedded
    gateway has them below its data directory."""
    in_database = {"BACKEND": "faces.mesh.storage.DatabaseStorage"}
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
        "artifacts": in_database if database_url and not artifacts else in_files,
    }
