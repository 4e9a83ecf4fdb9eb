"""The journal of connections: which file of a program was changed, how it was before, and how that is undone.

Backups lie beside it, all of it readable by the person only. The journal is written before a file is changed, so
whatever happens in between, `disconnect` knows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway_client.cli.files import PRIVATE, file_read, file_write
from gateway_client.cli.settings import config_directory
from gateway_client.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Entry:
    """A program's connection. `before` and `after` are the hashes of its file, `before` None when there was none;
    `directories` are those that were made for it, the innermost first."""

    path: str
    kind: str
    before: str | None
    after: str
    backup: str | None
    records: list[dict[str, Any]]
    directories: list[str] = field(default_factory=list)


def content_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Journal:
    """All connections of this person."""

    def __init__(self) -> None:
        self._path = config_directory() / "connections.json"
        state = file_read(self._path)
        try:
            entries = json.loads(state.text) if state.content else {}
            self.entries = {name: Entry(**entry) for name, entry in entries.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise GatewayError(f"{self._path} is broken: move it away, and mend the files by hand.") from error

    def put(self, name: str, entry: Entry, original: bytes | None) -> None:
        """Stores an entry, first the backup of the file as it was before any connection."""
        if entry.backup is not None and original is not None:
            backup = file_read(Path(entry.backup))
            if backup.content != original:
                file_write(backup, original, PRIVATE)
        self.entries[name] = entry
        self._write()

    def drop(self, name: str) -> None:
        """Removes an entry, and its backup."""
        entry = self.entries.pop(name)
        self._write()
        if entry.backup is not None:
            Path(entry.backup).unlink(missing_ok=True)

    def backup_path(self, name: str, original: bytes) -> str:
        return str(self._path.parent / "backups" / f"{name}-{content_hash(original)[:16]}")

    def original(self, entry: Entry) -> bytes | None:
        """Returns the file as it was before, None when there was none or its backup is gone."""
        if entry.backup is None:
            return None
        content = file_read(Path(entry.backup)).content
        return content if content is not None and content_hash(content) == entry.before else None

    def _write(self) -> None:
        text = json.dumps({name: asdict(entry) for name, entry in self.entries.items()}, indent=1)
        file_write(file_read(self._path), text.encode(), PRIVATE)
