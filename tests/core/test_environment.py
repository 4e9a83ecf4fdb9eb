"""Environment variables with values in files: precedence, rotation, and the errors of unreadable files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core_app.environment import MAX_BYTES, UnreadableSecret, read_variable

NAME = "DEPLOY_TEST_KEY"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the variable names."""
    path = tmp_path / "key"
    path.write_text("from-the-file\n", encoding="utf-8")
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.setenv(f"{NAME}_FILE", str(path))
    return path


def test_a_file_gives_the_value_without_its_newline(file: Path) -> None:
    assert read_variable(NAME) == "from-the-file"


def test_the_variable_goes_before_its_file_unless_it_is_empty(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "")
    assert read_variable(NAME) == "from-the-file"
    monkeypatch.setenv(NAME, "from-the-environment")
    assert read_variable(NAME) == "from-the-environment"


def test_a_file_that_changed_is_read_again(file: Path) -> None:
    assert read_variable(NAME) == "from-the-file"
    replacement = file.with_name("rotated")
    replacement.write_text("rotated-value")
    os.replace(replacement, file)
    assert read_variable(NAME) == "rotated-value"


def test_an_empty_file_is_no_value(file: Path) -> None:
    file.write_text("\n")
    assert read_variable(NAME) is None


def test_nothing_named_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.delenv(f"{NAME}_FILE", raising=False)
    assert read_variable(NAME) is None


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (MAX_BYTES + 1)], ids=["no text", "too large"])
def test_what_cannot_be_a_secret_is_refused_by_the_name_of_its_variable(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UnreadableSecret, match=f"{NAME}_FILE"):
        read_variable(NAME)


def test_a_missing_file_is_refused_by_the_name_of_its_variable(file: Path) -> None:
    file.unlink()
    with pytest.raises(UnreadableSecret, match=f"{NAME}_FILE names .*No such file"):
        read_variable(NAME)
