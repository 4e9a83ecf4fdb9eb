"""A follower that was busy takes all waiting batches that continue its position, and none behind a gap."""

from __future__ import annotations

from typing import Any

import pytest

from events_app import follower as follower_module
from events_app import log
from events_app.batches import Batch, StoredEvent
from events_app.follower import Follower
from events_app.generations import NO_GENERATIONS, Position
from events_app.hub import Hub


def batch(first: int, last: int) -> Batch:
    return Batch(1, [StoredEvent(1, offset, "message_delta", "run_1", b"{}") for offset in range(first, last + 1)])


class Beside(Follower):
    """A follower that has read the log up to its position; batches are put into it by hand."""

    def __init__(self, after: int = 0) -> None:
        hub = Hub()
        super().__init__(1, after=Position(after), hub=hub)
        self.behind = False

    def put(self, *spans: tuple[int, int]) -> None:
        for first, last in spans:
            self.subscription.put(batch(first, last))

    async def offsets(self) -> list[int]:
        return [event.offset for event in await self.next(0.0)]


@pytest.fixture
def empty_log(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A log without events; holds the offsets after which it was read."""
    asked: list[int] = []

    def read(_stream_id: int, *, after: int, **_: Any) -> log.Page:
        asked.append(after)
        return log.Page([], NO_GENERATIONS)

    async def run(function: Any, /, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    monkeypatch.setattr("events_app.follower.log.read_page", read)
    monkeypatch.setattr("events_app.follower.database.run", run)
    return asked


async def test_batches_that_continue_are_taken_together() -> None:
    follower = Beside()
    follower.put((1, 1), (2, 4), (5, 5))
    assert await follower.offsets() == [1, 2, 3, 4, 5]
    assert await follower.offsets() == []
    assert follower.position == Position(5)


async def test_what_came_twice_or_late_is_taken_once() -> None:
    follower = Beside(after=2)
    follower.put((1, 2), (2, 4), (3, 4), (4, 6), (1, 1))
    assert await follower.offsets() == [3, 4, 5, 6]


async def test_nothing_behind_a_gap_is_taken_with_what_is_before_it(empty_log: list[int]) -> None:
    follower = Beside()
    follower.put((1, 2), (5, 6))
    assert await follower.offsets() == [1, 2]
    assert empty_log == []
    assert await follower.offsets() == [5, 6]
    assert empty_log == [2]


async def test_a_follower_far_behind_takes_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "PAGE", 3)
    follower = Beside()
    follower.put((1, 2), (3, 4), (5, 6))
    assert await follower.offsets() == [1, 2, 3, 4]
    assert await follower.offsets() == [5, 6]


async def test_a_follower_far_behind_of_large_batches_takes_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "PAGE_BYTES", 5)
    follower = Beside()
    follower.put((1, 2), (3, 4), (5, 6))
    assert await follower.offsets() == [1, 2, 3, 4]
    assert await follower.offsets() == [5, 6]
