"""Positions and generations: every reader has exactly the log, or is told from where it is not the one it read.

The model is a tree of databases: a state may be restored as often as one likes, and every event that was ever written
may have been read by somebody.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from events_app import positions
from events_app.batches import Batch
from events_app.follower import Follower, FollowerReleased, FollowerReset
from events_app.generations import MAX_BASES, NO_GENERATIONS, START, Generations, Position, position_parse
from events_app.positions import StreamPosition
from tests.events.memory_log import MemoryLog

STEPS = 6


@dataclass(frozen=True)
class State:
    """The state of one stream in a database: the numbers of its events, its generations, and its incarnations."""

    events: tuple[int, ...] = ()
    generations: Generations = NO_GENERATIONS
    incarnations: tuple[int, ...] = (0,)

    def write(self, event: int) -> State:
        newest, generations = self.incarnations[-1], self.generations
        if generations.newest < newest:
            generations = generations.begin(newest, len(self.events))
        return replace(self, events=(*self.events, event), generations=generations)

    def restore(self, generation: int) -> State:
        return replace(self, incarnations=(*self.incarnations, generation))

    def readers(self) -> Iterator[tuple[Position, tuple[int, ...]]]:
        """Everybody who may have read from it: the position, and what was read."""
        for offset in range(len(self.events) + 1):
            yield self.generations.position(offset), self.events[:offset]


def histories() -> Iterator[list[State]]:
    """All states of every history of STEPS steps, each a write or the restore of any state there was before."""
    for choices in itertools.product(*(range(-1, step + 1) for step in range(STEPS))):
        states = [State().write(0)]
        for number, choice in enumerate(choices, start=1):
            states.append(states[-1].write(number) if choice < 0 else states[choice].restore(number))
        yield states


def shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """The number of events with which both begin."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def test_every_reader_of_every_history_has_the_log_or_is_told_from_where() -> None:
    told = kept = 0
    for states in histories():
        now = states[-1]
        readers = {reader for state in states for reader in state.readers()}
        for seen, read in readers:
            known = seen.generation in now.incarnations
            after = now.generations.common(seen, len(now.events), known=known)
            assert now.events[:after] == read[:after]
            if after == seen.offset:
                kept += 1
                continue
            told += 1
            if known:
                # Not one event more than was lost.
                assert after == shared(now.events, read)
    assert told > 1000
    assert kept > 1000


def test_a_generation_in_which_nothing_was_lost_resets_nobody() -> None:
    state = State()
    for number in range(12):
        before, state = state, state.write(number)
        if number % 3 == 2:
            state = state.restore(number)
        for seen, _ in before.readers():
            assert state.generations.common(seen, len(state.events), known=True) == seen.offset


def test_a_stream_remembers_a_bounded_number_of_generations_and_forgets_on_the_safe_side() -> None:
    state = State()
    readers: set[tuple[Position, tuple[int, ...]]] = set()
    for number in range(1, 3 * MAX_BASES):
        state = state.write(number).restore(2 * number)
        readers.update(state.write(-number).readers())
        # What was written last is lost.
        state = state.restore(2 * number + 1)
    assert len(state.generations.bases) == MAX_BASES
    for seen, read in readers:
        after = state.generations.common(seen, len(state.events), known=True)
        assert state.events[:after] == read[:after]


@pytest.mark.parametrize("text", ["0", "105", "105.1", "105.28839482"])
def test_a_position_is_what_its_text_says(text: str) -> None:
    assert str(position_parse(text)) == text


def test_a_position_of_generation_0_is_a_number() -> None:
    assert (Position(105).wire, Position(105, 1).wire, START.wire) == (105, "105.1", 0)


def test_the_column_says_what_it_was_given() -> None:
    generations = NO_GENERATIONS.begin(3, 10).begin(7, 25)
    assert generations.text == " 3:10 7:25"
    assert Generations.parse(generations.text) == generations
    assert [generations.position(offset).generation for offset in (10, 11, 25, 26)] == [0, 3, 3, 7]


class Client:
    """Follows stream 1 through everything, and keeps what it was shown."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.seen: list[object] = []
        self.at = START
        self.resets = 0

    async def read(self) -> None:
        """Reads what there is; connects again, as often as it is ended."""
        for _ in range(10):
            here = self.log.position(1)
            found = here.resume(self.at)
            if found.reset:
                self.go_back(here.at(found.after))
            try:
                async with Follower(1, after=self.at, generations=here.generations, hub=self.log.hub) as follower:
                    await self.follow(follower)
                    return
            except FollowerReset as reset:
                self.go_back(reset.after)
            except FollowerReleased:
                continue
        raise AssertionError("It is ended again and again.")

    async def follow(self, follower: Follower) -> None:
        while events := await follower.next(0.0):
            assert follower.missing is None
            self.seen += events
            self.at = events[-1].position

    def go_back(self, after: Position) -> None:
        assert after.offset < self.at.offset
        self.resets += 1
        self.at = after
        del self.seen[after.offset :]


@pytest.mark.parametrize("seed", range(60))
async def test_connected_and_returning_readers_have_the_log_after_restores(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice, log = random.Random(seed), MemoryLog(monkeypatch)
    log.commit(1, 1)
    clients = [Client(log) for _ in range(3)]
    late: list[Batch] = []
    for round_ in range(1, 8):
        async with Follower(1, hub=log.hub) as connected:
            live = Client(log)
            batches = [log.commit(1, dice.randint(1, 4)) for _ in range(dice.randint(1, 4))]
            log.deliver_badly(batches, dice)
            await live.follow(connected)
            before = live.at
            for client in clients:
                if dice.random() < 0.6:
                    await client.read()
            if dice.random() < 0.7:
                log.rewind(1, dice.randint(0, log.head(1)), round_)
            after = [log.commit(1, dice.randint(1, 3)) for _ in range(dice.randint(0, 3))]
            # A batch of the log that was lost may still be on its way.
            log.deliver_badly([*after, *batches], dice)
            await log.repair()
            try:
                await live.follow(connected)
            except FollowerReset as reset:
                live.go_back(reset.after)
                is_exact = live.seen == log.events[1][: reset.after.offset]
            except FollowerReleased:
                is_exact = before == START
            else:
                is_exact = live.seen == log.events[1]
            assert is_exact
        late = batches
    for client in clients:
        log.deliver_badly(late, dice)
        await client.read()
        assert client.seen == log.events[1]


async def test_a_reader_of_an_empty_stream_is_ended_when_its_id_belongs_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restore gives ids again, and the stream that gets this one may be another tenant's."""
    log = MemoryLog(monkeypatch)
    log.commit(1, 0)
    async with Follower(1, generations=NO_GENERATIONS, hub=log.hub) as follower:
        assert await follower.next(0.0) == ()
        log.rewind(1, 0, generation=1)
        log.deliver(log.commit(1, 2))
        with pytest.raises(FollowerReleased):
            await follower.next(0.0)


async def test_a_reader_that_is_ahead_of_a_stream_nobody_writes_to_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog(monkeypatch)
    log.commit(1, 10)
    async with Follower(1, hub=log.hub) as follower:
        await follower.next(0.0)
        log.rewind(1, 7, generation=1)
        await log.hub.check(full=True)
        with pytest.raises(FollowerReset) as reset:
            await follower.next(0.0)
    assert (reset.value.after, reset.value.dropped) == (Position(7), {"from": 10, "to": 7, "reason": "reset"})


async def test_a_reader_that_lost_nothing_goes_on_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog(monkeypatch)
    log.commit(1, 10)
    async with Follower(1, generations=NO_GENERATIONS, hub=log.hub) as follower:
        await follower.next(0.0)
        log.rewind(1, 10, generation=1)
        log.deliver(log.commit(1, 2))
        assert [str(event.position) for event in await follower.next(0.0)] == ["11.1", "12.1"]


def test_a_generation_that_nobody_knows_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "generation_is_known", lambda generation: generation != 5)
    here = StreamPosition(head=20, floor=0, generations=NO_GENERATIONS.begin(9, 15))
    assert here.resume(Position(12, 5)).after == 0
    assert here.resume(Position(18, 5)).dropped == {"from": "18.5", "to": 0, "reason": "reset"}
    assert here.resume(Position(18)).dropped == {"from": 18, "to": 15, "reason": "reset"}
    assert here.resume(Position(18, 9)).dropped is None


def test_what_is_not_kept_any_more_is_told_with_a_reset() -> None:
    here = StreamPosition(head=20, floor=16, generations=NO_GENERATIONS.begin(9, 15))
    assert here.resume(Position(18)).dropped == {"from": 18, "to": "16.9", "reason": "reset"}
    assert here.resume(Position(12)).dropped == {"from": 13, "to": "16.9"}
