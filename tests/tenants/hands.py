"""A clock that is moved by hand, where a test would otherwise sleep."""

from __future__ import annotations


class Hands:
    """Seconds since nothing in particular."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
