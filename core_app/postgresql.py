"""Connections to PostgreSQL that close their socket when the attempt to connect fails.

psycopg 3.3 keeps the socket of a failed attempt in a reference cycle (error, traceback, frame) until the garbage
collector runs, which here is seldom. A server that shuts down takes such a socket for a client and waits for it up to
`authentication_timeout`, a minute. Seen in one of five restarts under load.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Self

import psycopg
from psycopg.rows import TupleRow

from core_app.connection_failures import FAILURES

_checks: list[Callable[[psycopg.Connection[Any]], None]] = []


def connection_check_register(check: Callable[[psycopg.Connection[Any]], None]) -> None:
    """Lets `check` see every new connection before anything else uses it; to be called in `AppConfig.ready`."""
    _checks.append(check)


class PromptConnection(psycopg.Connection[TupleRow]):
    """A connection whose failed attempts close their socket at once."""

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        """Connects as psycopg does, with its errors or those of the registered checks."""
        try:
            connection = super().connect(conninfo, **parameters)
        except BaseException as error:
            FAILURES.note(error)
            traceback.clear_frames(error.__traceback__)
            raise
        FAILURES.clear()
        try:
            for check in _checks:
                check(connection)
        except BaseException:
            connection.close()
            raise
        return connection


class PromptAsyncConnection(psycopg.AsyncConnection[TupleRow]):
    """An async connection whose failed and cancelled attempts close their socket at once."""

    @classmethod
    async def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        """Connects as psycopg does, with its errors."""
        try:
            return await super().connect(conninfo, **parameters)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise
