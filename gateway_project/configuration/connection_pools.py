"""How many connections to PostgreSQL a process may open, and by which name they are known there."""

from __future__ import annotations

import os
import socket

OTHER_CONNECTIONS = 8
"""Beside one for each database thread and one for each request thread: the flusher's, the leases', the sweep's …"""

QUEUE_CONNECTIONS = 5
"""What a worker's queue opens beside that: four, and one that listens."""

APPLICATION = "agent-gateway "


def application_name() -> str:
    """The process's name in `pg_stat_activity`, which takes 63 bytes."""
    return f"{APPLICATION}{socket.gethostname()[:30]}:{os.getpid()}"


def most_connections(*, db_threads: int, request_threads: int) -> int:
    """What one process opens at most: a worker, which opens some more than a web process."""
    return db_threads + request_threads + OTHER_CONNECTIONS + QUEUE_CONNECTIONS
