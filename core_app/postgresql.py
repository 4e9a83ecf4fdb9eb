"""Connections to PostgreSQL that leave nothing behind when they cannot be made.

psycopg 3.3 keeps the socket of a failed attempt in a reference cycle (error, traceback, frame) until the collector of
cyclic garbage comes by, which here is seldom. A server that goes down takes such a socket for a client, and waits for
its first word up to `authentication_timeout`, a minute, before it ends. Seen in one of five restarts under load.
"""

from __future__ import annotations

import traceback
from typing import Any, Self

import psycopg
from psycopg.rows import TupleRow


class PromptConnection(psycopg.Connection[TupleRow]):
    """A connection whose failed attempts are closed when they fail."""

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        """As psycopg's, whose errors it raises."""
        try:
            return super().connect(conninfo, **parameters)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise


class PromptAsyncConnection(psycopg.AsyncConnection[TupleRow]):
    """A connection whose failed and cancelled attempts are closed when they end."""

    @classmethod
    async def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        """As psycopg's, whose errors it raises."""
        try:
            return await super().connect(conninfo, **parameters)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise
