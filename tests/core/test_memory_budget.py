"""A memory budget is shared in order of arrival, and no owner takes all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from core_app.memory_budget import MemoryBudget


class Holder:
    """A task that holds its bytes until it is told to leave."""

    def __init__(self, budget: MemoryBudget, size: int, owner: int) -> None:
        self._leaving = asyncio.Event()
        self.inside = False
        self.task = asyncio.create_task(self._hold(budget, size, owner))

    async def _hold(self, budget: MemoryBudget, size: int, owner: int) -> None:
        async with budget.reserve(size, owner=owner):
            self.inside = True
            await self._leaving.wait()
        self.inside = False

    async def leave(self) -> None:
        self._leaving.set()
        await self.task
        await turns()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def holders(budget: MemoryBudget, *wanted: tuple[int, int]) -> list[Holder]:
    """One for each (size, owner), in this order."""
    made = [Holder(budget, size, owner) for size, owner in wanted]
    await turns()
    return made


def inside(made: list[Holder]) -> list[bool]:
    return [holder.inside for holder in made]


@pytest.fixture
def budget() -> Iterator[MemoryBudget]:
    budget = MemoryBudget(lambda: 100)
    yield budget
    assert budget.reserved_bytes == 0


async def end_all(made: list[Holder]) -> None:
    for holder in made:
        await holder.leave()


async def test_together_they_hold_no_more_than_there_is(budget: MemoryBudget) -> None:
    made = await holders(budget, (50, 1), (40, 2), (20, 3))
    assert inside(made) == [True, True, False]
    assert budget.reserved_bytes == 90
    await made[0].leave()
    assert inside(made) == [False, True, True]
    await end_all(made[1:])


async def test_a_small_one_does_not_overtake_a_large_one(budget: MemoryBudget) -> None:
    made = await holders(budget, (50, 1), (60, 2), (10, 3))
    assert inside(made) == [True, False, False]
    await made[0].leave()
    assert inside(made) == [False, True, True]
    await end_all(made[1:])


async def test_one_owner_holds_half_and_keeps_nobody_else_waiting(budget: MemoryBudget) -> None:
    made = await holders(budget, (30, 1), (30, 1), (30, 2))
    assert inside(made) == [True, False, True]
    await made[0].leave()
    assert inside(made) == [False, True, True]
    await end_all(made[1:])


async def test_what_is_larger_than_the_room_is_let_in_alone(budget: MemoryBudget) -> None:
    made = await holders(budget, (500, 1), (1, 2))
    assert inside(made) == [True, False]
    await made[0].leave()
    assert inside(made) == [False, True]
    await end_all(made[1:])


async def test_whoever_is_cancelled_while_waiting_makes_way(budget: MemoryBudget) -> None:
    made = await holders(budget, (50, 1), (60, 2), (10, 3))
    made[1].task.cancel()
    await turns()
    assert inside(made) == [True, False, True]
    await made[0].leave()
    await made[2].leave()


async def test_whoever_is_cancelled_just_when_it_is_let_in_leaves_its_room(budget: MemoryBudget) -> None:
    first = budget.reserve(60, owner=1)
    await first.__aenter__()
    second, third = await holders(budget, (60, 2), (60, 3))
    # Leaving lets the second in, whose task has not gone on when it is cancelled.
    await first.__aexit__(None, None, None)
    second.task.cancel()
    await turns()
    assert inside([second, third]) == [False, True]
    await third.leave()
