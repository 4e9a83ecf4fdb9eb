"""Single keys from the terminal, and lines of text."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator

try:
    import termios
    import tty
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

with contextlib.suppress(ImportError):
    import readline  # arrows and a history for `input`

    # Several lines that are pasted at once are one text, which Python switches off.
    readline.parse_and_bind("set enable-bracketed-paste on")

import typer

GLANCE = 0.1


def key_wait(ask: Callable[[], None], allowed: str, is_over: Callable[[], bool]) -> str | None:
    """Asks, and waits for one of the keys, upper case or lower; None when `is_over` says that nobody needs it any more.

    Keys that were pressed before the question was there are dropped, and so is what was pasted: they were not meant
    for it.
    """
    if termios is None:
        ask()
        while (pressed := typer.getchar().lower()) not in allowed:
            pass
        return pressed
    with _single_keys() as terminal:
        ask()
        while not is_over():
            if select.select([terminal], [], [], GLANCE)[0]:
                pressed = os.read(terminal, 64).decode("utf-8", "replace").lower()
                if len(pressed) == 1 and pressed in allowed:
                    return pressed
                if not pressed:
                    raise EOFError
    return None


def line_ask(prompt: str) -> str:
    """Asks for a line of text; an answer that ends with a backslash goes on in the next line."""
    lines = [input(prompt)]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input("… "))
    return "\n".join(lines)


@contextlib.contextmanager
def _single_keys() -> Iterator[int]:
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        termios.tcflush(terminal, termios.TCIFLUSH)
        yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
