"""Django storage in the database, for artifacts of deployments with several hosts: all of them have the database, and
its backups have the files."""

from __future__ import annotations

import io
from typing import Any

from django.core.files.base import File
from django.core.files.storage import Storage
from django.utils.deconstruct import deconstructible

from core_app.database import write_transaction
from faces.mesh.models import FileContent


@deconstructible
class DatabaseStorage(Storage):
    """Files as rows of FileContent. They are at most a few megabytes, and are read and written whole."""

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        data = FileContent.objects.filter(name=name).values_list("data", flat=True).first()
        if data is None:
            raise FileNotFoundError(name)
        return File(io.BytesIO(bytes(data)), name)

    def _save(self, name: str, content: File[Any]) -> str:
        with write_transaction():
            FileContent.objects.create(name=name, data=content.read())
        return name

    def delete(self, name: str) -> None:
        """Removes a file; nothing happens when there is none."""
        with write_transaction():
            FileContent.objects.filter(name=name).delete()

    def exists(self, name: str) -> bool:
        """True when there is a file of this name."""
        return FileContent.objects.filter(name=name).exists()
