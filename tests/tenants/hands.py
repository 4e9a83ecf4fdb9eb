"""A fake monotonic clock, which tests move instead of sleeping."""

from __future__ import annotations


class Hands:
    """A clock with an arbitrary origin."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
