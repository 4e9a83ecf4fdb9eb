"""Parts and periodic work: rounds go on after failures, and nothing is left after a stop."""

from __future__ import annotations

import asyncio

from core_app.lifecycle import Part, Periodic


class Rounds:
    """Work that counts its rounds, fails in the second, and says when the third is done."""

    def __init__(self) -> None:
        self.count = 0
        self.third = asyncio.Event()

    async def work(self) -> None:
        self.count += 1
        if self.count == 2:
            raise ValueError("the second round")
        if self.count == 3:
            self.third.set()


async def test_a_part_without_work_starts_drains_and_stops() -> None:
    part = Part()
    await part.start()
    await part.drain()
    await part.stop()


async def test_a_failed_round_is_told_and_the_next_one_comes() -> None:
    rounds, failures = Rounds(), list[Exception]()
    periodic = Periodic("rounds", rounds.work, 0.0, failed=failures.append)
    await periodic.start()
    async with asyncio.timeout(5):
        await rounds.third.wait()
    await periodic.stop()
    assert [str(error) for error in failures] == ["the second round"]


async def test_after_a_stop_no_task_is_left_and_a_second_stop_does_nothing() -> None:
    rounds = Rounds()
    periodic = Periodic("rounds", rounds.work, lambda: 3600.0, first=False)
    await periodic.start()
    await periodic.stop()
    await periodic.stop()
    assert rounds.count == 0
    assert [task for task in asyncio.all_tasks() if task.get_name() == "rounds"] == []
