"""Errors of the database by what they mean: it is away, it is busy, or it has certainly kept nothing.

A client may repeat what failed because the database was away or busy, so faces answer 503 (`edge_app.http.errors`).
Everything else is a bug and becomes `internal_error`.
"""

from __future__ import annotations

import sqlite3

from django.db import DatabaseError, InterfaceError, OperationalError

UNAVAILABLE_STATES = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "53300")
"""SQLSTATEs of PostgreSQL, or their prefixes, of a server that shuts down, starts up, has no connection left or closed
ours."""

READ_ONLY_STATE = "25006"
"""SQLSTATE of a write on a server that is a standby: it was demoted while its connections stayed open."""

LOCK_TIMEOUT_STATE = "55P03"
"""SQLSTATE of a statement that waited GATEWAY_LOCK_TIMEOUT_SECONDS for a lock."""

ROLLED_BACK_STATES = (LOCK_TIMEOUT_STATE, "40P01", "40001", "57014", "53100")
"""SQLSTATEs after which the same transaction may succeed: lock time-out, deadlock, serialization failure, statement
time-out, full disk."""

UNAVAILABLE_CODES = frozenset({
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
})  # fmt: skip
"""Error codes of SQLite for a full or missing disk and an unwritable directory."""

BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""Error codes of SQLite for a file that another connection or process holds."""


class TransactionLost(OperationalError):
    """A transaction was rolled back without an error of its own."""


class DatabaseBusy(OperationalError):
    """SQLite's writer was not free within GATEWAY_LOCK_TIMEOUT_SECONDS. Nothing was written."""


def database_unavailable(error: BaseException) -> bool:
    """Returns True when PostgreSQL cannot be reached, closed the connection or takes no writes, or SQLite's file cannot
    be used now: a client can only try again."""
    if isinstance(error, TransactionLost):
        return True
    if isinstance(error.__cause__, sqlite3.Error):
        return _sqlite_code(error) in UNAVAILABLE_CODES
    if not isinstance(error, DatabaseError | InterfaceError) or isinstance(error, DatabaseBusy):
        return False
    state = _state(error)
    if state is None:
        # The connection failed and not a statement.
        return isinstance(error, OperationalError | InterfaceError)
    return state.startswith((*UNAVAILABLE_STATES, READ_ONLY_STATE))


def database_busy(error: BaseException) -> bool:
    """Returns True when a lock was not free within GATEWAY_LOCK_TIMEOUT_SECONDS, on either database."""
    return (
        isinstance(error, DatabaseBusy)
        or _sqlite_code(error) in BUSY_CODES
        or (isinstance(error, DatabaseError) and _state(error) == LOCK_TIMEOUT_STATE)
    )


def server_read_only(error: BaseException) -> bool:
    """Returns True when PostgreSQL refused a write because it is a standby."""
    return isinstance(error, DatabaseError) and _state(error) == READ_ONLY_STATE


def may_succeed_again(error: BaseException) -> bool:
    """Returns True when a statement failed in a way that says for certain that nothing was kept, and that does not lie
    in its data: the transaction may be repeated. Not for errors of a commit on PostgreSQL."""
    if database_busy(error) or _sqlite_code(error) == sqlite3.SQLITE_FULL:
        return True
    return isinstance(error, DatabaseError) and (_state(error) or "").startswith(ROLLED_BACK_STATES)


def _state(error: BaseException) -> str | None:
    """Returns the SQLSTATE; None for a failed connection, which has none, and "" for errors of other libraries."""
    state: str | None = getattr(error.__cause__, "sqlstate", "")
    return state


def _sqlite_code(error: BaseException) -> int | None:
    """Returns the code of an error of SQLite: the low byte, since the bytes above it describe the circumstances."""
    if not isinstance(error.__cause__, sqlite3.Error):
        return None
    return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF
