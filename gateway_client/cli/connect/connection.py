"""The connection of one program: planned, made, and undone."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway_client.cli.connect.changes import Change, changes_apply, changes_revert, document_open
from gateway_client.cli.connect.document import Unsafe
from gateway_client.cli.connect.journal import Entry, Journal, content_hash
from gateway_client.cli.connect.programs import Program, Target, shell_name, shell_variables
from gateway_client.cli.connect.shell_block import block_add, block_remove, export_lines
from gateway_client.cli.files import FileState, file_read, file_remove, file_write
from gateway_client.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Plan:
    """A connection that may be made. `original` is its file without any connection, None when there was none."""

    program: Program
    path: Path
    state: FileState
    original: bytes | None
    content: bytes
    records: list[dict[str, Any]]
    changes: Sequence[Change]

    @property
    def is_done(self) -> bool:
        return self.content == self.state.content


def connection_plan(program: Program, target: Target, journal: Journal) -> Plan:
    """Plans a connection, in place of the one that the program may have. Nothing is changed."""
    path = program.path()
    state = file_read(path)
    original = state.content
    entry = journal.entries.get(program.name)
    if entry is not None:
        if entry.path != str(state.path):
            raise GatewayError(f"It is connected in {entry.path}: 'agent-gateway disconnect {program.name}' first.")
        original, _ = _without(entry, state, journal)
    text = FileState(state.path, original).text
    if program.kind == "block":
        variables = shell_variables(target)
        after, records = block_add(text, export_lines(shell_name(), variables))
        changes = [Change((name,), value, secret="KEY" in name or "TOKEN" in name) for name, value in variables.items()]
    else:
        changes = program.changes(target)
        after, records = _changed(program, state.path, text, changes)
    return Plan(program, path, state, original, after.encode(), records, changes)


def connection_make(plan: Plan, journal: Journal) -> None:
    """Makes a planned connection: the backup, the journal, then the file."""
    name, original = plan.program.name, plan.original
    earlier = journal.entries.get(name)
    directories = earlier.directories if earlier else _missing_directories(plan.state.path)
    entry = Entry(
        path=str(plan.state.path),
        kind=plan.program.kind,
        before=None if original is None else content_hash(original),
        after=content_hash(plan.content),
        backup=None if original is None else journal.backup_path(name, original),
        records=plan.records,
        directories=directories,
    )
    journal.put(name, entry, original)
    try:
        file_write(plan.state, plan.content)
    except GatewayError:
        # The file is as it was, and so is the journal.
        if earlier is None:
            journal.drop(name)
        else:
            journal.put(name, earlier, None)
        raise
    if earlier is not None and earlier.backup not in (None, entry.backup):
        Path(str(earlier.backup)).unlink(missing_ok=True)


def connection_undo(name: str, journal: Journal) -> list[str]:
    """Puts a program's file back; returns the names of values that are somebody else's by now, and stay."""
    entry = journal.entries[name]
    state = file_read(Path(entry.path))
    content, kept = _without(entry, state, journal)
    if content is None:
        if state.content is not None:
            file_remove(state)
        _directories_remove(entry)
    elif content != state.content:
        file_write(state, content)
    journal.drop(name)
    return kept


def is_readable_by_others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _without(entry: Entry, state: FileState, journal: Journal) -> tuple[bytes | None, list[str]]:
    """Returns the file without the connection: to the byte when nobody else changed it, else without our changes."""
    if state.content is None:
        return None, []
    now = content_hash(state.content)
    if now == entry.before:
        return state.content, []
    if now == entry.after and entry.before is None:
        return None, []
    if now == entry.after and (original := journal.original(entry)) is not None:
        return original, []
    if entry.kind == "block":
        text, kept = block_remove(state.text, entry.records)
    else:
        try:
            document = document_open(entry.kind, state.text)
            kept = changes_revert(document, entry.records)
        except (Unsafe, GatewayError) as error:
            advice = f"as it was before, it is in {entry.backup}" if entry.backup else "mend it by hand"
            raise GatewayError(f"{state.path} was changed since, and is left alone ({error}): {advice}.") from error
        text = document.text
    is_ours = entry.before is None and not text.strip().strip("{}").strip()
    return (None if is_ours else text.encode()), kept


def _changed(program: Program, path: Path, text: str, changes: Sequence[Change]) -> tuple[str, list[dict[str, Any]]]:
    try:
        document = document_open(program.kind, text)
        records = changes_apply(document, changes)
    except GatewayError as error:
        wanted = ", ".join(change.name for change in changes)
        raise GatewayError(f"{path} is left alone: {str(error).rstrip('.')}. Set these by hand: {wanted}.") from error
    return document.text, records


def _missing_directories(path: Path) -> list[str]:
    missing = []
    for directory in path.parents:
        if directory.exists():
            break
        missing.append(str(directory))
    return missing


def _directories_remove(entry: Entry) -> None:
    for directory in entry.directories:
        try:
            Path(directory).rmdir()
        except OSError:
            return  # somebody else's things are in it
