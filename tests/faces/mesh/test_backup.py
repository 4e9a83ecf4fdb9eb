"""A backup has the files of spaces beside the database that names them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway_project.operations import backup


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a database and a file."""
    data = tmp_path / "data"
    (data / "artifacts" / "1").mkdir(parents=True)
    (data / "artifacts" / "1" / "kept").write_bytes(b"\x00bytes")
    with closing(sqlite3.connect(data / backup.DATABASE)) as file:
        file.execute("CREATE TABLE events_app_incarnation (n INTEGER, identity TEXT)")
        for table in backup.COUNTED:
            file.execute(f"CREATE TABLE {table} (n INTEGER)")
    return data


def test_files_are_copied_for_their_owner_only(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_database = backup._copy_database

    def copy_while_serving(source: Path, target: Path) -> None:
        copy_database(source, target)
        (data / "artifacts" / "1" / "kept").unlink()
        (data / "artifacts" / "1" / "new").write_bytes(b"new")

    monkeypatch.setattr(backup, "_copy_database", copy_while_serving)
    backup.backup_make(data, tmp_path / "copy")
    files = {path.name: path for path in (tmp_path / "copy" / "artifacts" / "1").iterdir()}
    assert {name: path.read_bytes() for name, path in files.items()} == {"kept": b"\x00bytes", "new": b"new"}
    assert files["kept"].stat().st_mode & 0o077 == 0
