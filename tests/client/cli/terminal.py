"""A program at a terminal: a test reads what a person would see, and presses keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path

SECONDS = 90
_SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")


class Terminal:
    """A program with a terminal of its own. `raw` is everything that it sent there."""

    def __init__(self, process: subprocess.Popen[bytes], side: int) -> None:
        self._process = process
        self._side = side
        self.raw = ""
        self._read_to = 0

    async def see(self, wanted: str) -> str:
        """Waits until the text appears after what was seen before; returns what came with it."""
        async with asyncio.timeout(SECONDS):
            while (found := self.text.find(wanted, self._read_to)) < 0:
                await self._more()
        seen = self.text[self._read_to : found + len(wanted)]
        self._read_to = found + len(wanted)
        return seen

    def press(self, keys: str) -> None:
        os.write(self._side, keys.encode())

    async def end(self) -> int:
        """Waits for the program's end and returns its exit code."""
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(OSError):  # a terminal without a program
                while await self._more():
                    pass
        return await asyncio.to_thread(self._process.wait, SECONDS)

    @property
    def text(self) -> str:
        """The text that was sent, without sequences that draw."""
        return _SEQUENCES.sub("", self.raw)

    async def _more(self) -> bytes:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._side, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._side)
        piece = os.read(self._side, 65536)
        self.raw += piece.decode("utf-8", "replace")
        return piece


@contextlib.contextmanager
def terminal(words: tuple[str, ...], environment: Mapping[str, str], cwd: Path) -> Iterator[Terminal]:
    """Runs `agent-gateway` at a terminal that is wide enough for every sentence."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 200))
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway_client", *words],
        cwd=cwd,
        env={**environment, "TERM": "xterm", "COLUMNS": "200", "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(SECONDS)
        os.close(ours)


def _take_terminal() -> None:
    """Makes standard input the terminal that Ctrl-C comes from."""
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
