"""Positions in streams, and the generations that keep them unique when a database goes back in time.

After a failover to a server that had not received everything, after a restore and after a power cut, a stream assigns
offsets again that clients have seen. Its first events after that begin a new generation, whose `base` is the newest
offset of before. A position is an offset with the generation of its event, so it names one event for ever: two logs
that both have it agree on everything up to it. Values only; `events_app.incarnation` begins generations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

MAX_BASES = 64
"""Generations that a stream remembers. Beyond it the oldest two become one, which resets more readers, never fewer."""

MAX_DIGITS = 18
"""The length of a number that fits into the database's 64 bits."""


class Position(NamedTuple):
    """The place after one event of a stream; offset 0 is the beginning.

    On the wire it is `105` in generation 0 and `105.1` in generation 1.
    """

    offset: int
    generation: int = 0

    def __str__(self) -> str:
        return f"{self.offset}.{self.generation}" if self.generation else str(self.offset)

    @property
    def wire(self) -> int | str:
        """The position in JSON: a number in generation 0, else text."""
        return str(self) if self.generation else self.offset


START = Position(0)


def position_parse(text: str) -> Position:
    """Returns the position that `text` is; raises ValueError."""
    offset, dot, generation = text.partition(".")
    if not dot:
        return Position(_whole(offset))
    return Position(_whole(offset), _whole(generation))


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(text)
    # A larger number is beyond every log, as this one is, and resets its reader.
    return int(text) if len(text) <= MAX_DIGITS else 10**MAX_DIGITS - 1


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations of one stream: pairs of number and base, both rising. Generation 0 is not in the list."""

    bases: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def parse(text: str) -> Generations:
        """Returns what the column `Stream.bases` says; the same object for the same text."""
        return _parse(text) if text else NO_GENERATIONS

    @property
    def text(self) -> str:
        """The value of the column."""
        return "".join(f" {generation}:{base}" for generation, base in self.bases)

    @property
    def newest(self) -> int:
        """The number of the newest generation."""
        return self.bases[-1][0] if self.bases else 0

    def position(self, offset: int) -> Position:
        """Returns the position of an offset that the log has."""
        for generation, base in reversed(self.bases):
            if offset > base:
                return Position(offset, generation)
        return Position(offset)

    def common(self, seen: Position, head: int, *, known: bool) -> int:
        """Returns the newest offset up to which this log, which ends at `head`, is the one in which `seen` was read.

        It is the offset of `seen` where this log has that very event; otherwise the end of that generation here.
        `known`: the generation of `seen` began in the history of this database (`Incarnation`). If it did not, nothing
        says how much this log shares with the one that was lost: 0.
        """
        if seen.offset <= head and self.position(seen.offset) == seen:
            return seen.offset
        end = next((base for generation, base in self.bases if generation > seen.generation), head)
        return end if known and end < seen.offset else 0

    def begin(self, generation: int, base: int) -> Generations:
        """Returns these generations and a new one."""
        bases = [*self.bases, (generation, base)]
        while len(bases) > MAX_BASES:
            bases[:2] = [(bases[1][0], bases[0][1])]
        return Generations(tuple(bases))


NO_GENERATIONS = Generations()


@lru_cache(maxsize=4096)
def _parse(text: str) -> Generations:
    found = NO_GENERATIONS
    for pair in text.split():
        generation, base = pair.split(":")
        found = found.begin(int(generation), int(base))
    return found
