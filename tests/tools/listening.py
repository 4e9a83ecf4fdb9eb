"""Server processes of tests, at a free port."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.stack.process import ROOT

START_SECONDS = 60


@contextmanager
def listening(command: Sequence[str], *, quiet: bool = False) -> Iterator[int]:
    """Starts a server whose last argument is its port, and yields that once it takes connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    output = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen([*command, str(port)], cwd=ROOT, stdout=output, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until, "the server did not start"
                assert process.poll() is None, "the server ended"
        yield port
    finally:
        process.kill()
        process.wait(START_SECONDS)
