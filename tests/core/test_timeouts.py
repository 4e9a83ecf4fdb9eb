"""Deadlines, coarse deadlines, idle timers and the cancellation of tasks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from core_app import timeouts
from core_app.timeouts import CoarseTimers, Deadline, IdleTimer, cancel_tasks, running_loop, task_location


async def test_the_running_loop_is_the_threads_own_in_every_loop() -> None:
    here = asyncio.get_running_loop()

    async def elsewhere() -> bool:
        return running_loop() is asyncio.get_running_loop()

    assert running_loop() is here
    assert await asyncio.to_thread(asyncio.run, elsewhere())
    assert running_loop() is here


def test_there_is_no_running_loop_outside_of_one() -> None:
    with pytest.raises(RuntimeError):
        running_loop()


async def test_a_near_deadline_ends_the_block() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline(0.0):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_far_deadline_ends_the_block_when_it_is_looked_at() -> None:
    loop = asyncio.get_running_loop()

    async def waits() -> None:
        async with Deadline(60.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    coarse = timeouts._coarse[loop]
    (deadline,) = coarse.deadlines
    coarse.check(loop)
    assert deadline in coarse.deadlines
    deadline._at = loop.time()
    coarse.check(loop)
    with pytest.raises(TimeoutError):
        await task
    assert not coarse.deadlines


async def test_a_block_that_ends_in_time_leaves_nothing_behind() -> None:
    async with Deadline(60.0):
        await asyncio.sleep(0)
    assert not timeouts._coarse.get(asyncio.get_running_loop(), CoarseTimers()).deadlines
    gc.collect()


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def waits() -> None:
        async with Deadline(60.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_loses_cancellations_is_told_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "RECANCEL_SECONDS", 0.0)
    lost = 0

    async def goes_on() -> None:
        nonlocal lost
        while lost < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.Event().wait()

    async def fails() -> None:
        raise OSError

    tasks = [asyncio.create_task(goes_on()), asyncio.create_task(fails())]
    await asyncio.sleep(0)
    await cancel_tasks(*tasks)
    assert (lost, tasks[0].cancelled()) == (3, True)
    assert isinstance(tasks[1].exception(), OSError)
    await cancel_tasks()


async def test_where_a_task_waits_is_its_innermost_frames() -> None:
    async def outer() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    *_, own, library = task_location(task).split(" > ")
    assert own.startswith(__file__)
    assert own.endswith(" outer")
    assert "asyncio" in library
    await cancel_tasks(task)
    assert task_location(task) == ""


class Hours:
    """A loop's clock and its timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Mock:
        timer = (self.now + seconds, callback)
        self.timers.append(timer)
        return Mock(cancel=lambda: self.timers.remove(timer))

    def pass_to(self, moment: float) -> None:
        while self.timers and min(self.timers)[0] <= moment:
            self.now, callback = self.timers.pop(self.timers.index(min(self.timers)))
            callback()
        self.now = moment


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    hours = Hours()
    monkeypatch.setattr(timeouts, "running_loop", lambda: hours)
    return hours


def test_a_silence_ends_what_was_waited_for_too_long(hours: Hours) -> None:
    ended = Mock()
    silence = IdleTimer(60.0, ended)
    hours.pass_to(50.0)
    silence.resume()
    hours.pass_to(109.0)
    ended.assert_not_called()
    hours.pass_to(110.0)
    ended.assert_called_once_with()
    assert not hours.timers
    silence.close()


def test_many_pieces_have_one_timer_and_what_nobody_waits_for_is_no_silence(hours: Hours) -> None:
    ended = Mock()
    silence = IdleTimer(60.0, ended)
    for moment in range(59):
        silence.resume()
        hours.pass_to(float(moment))
        silence.pause()
        assert len(hours.timers) == 1
    hours.pass_to(1000.0)
    ended.assert_not_called()
    silence.close()
    assert not hours.timers
