"""A part that fails must not keep the others from being brought home, nor the gateway from starting again."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import AsyncMock

import pytest

from core_app.lifecycle import Part
from gateway_project.process.lifecycle import Gateway
from gateway_project.process.lifespan import EnsureStarted

pytestmark = pytest.mark.django_db(transaction=True)


class Noting(Part):
    """A part that notes what it is told, and fails at one of the steps."""

    def __init__(self, name: str, calls: list[str], fails: str = "") -> None:
        self.name, self.calls, self.fails = name, calls, fails

    def _note(self, step: str) -> None:
        self.calls.append(f"{step} {self.name}")
        if step == self.fails:
            raise OSError(f"{self.name} is away")

    async def start(self) -> None:
        self._note("start")

    async def drain(self) -> None:
        self._note("drain")

    async def stop(self) -> None:
        self._note("stop")


class OfParts(Gateway):
    """A gateway of given parts."""

    def __init__(self, *parts: Part) -> None:
        super().__init__()
        self.given = parts

    def parts(self) -> Sequence[Part]:
        return self.given


def three(fails: str) -> tuple[OfParts, list[str], Noting]:
    calls: list[str] = []
    second = Noting("second", calls, fails)
    return OfParts(Noting("first", calls), second, Noting("third", calls)), calls, second


@pytest.mark.parametrize("step", ["drain", "stop"])
async def test_a_part_that_fails_keeps_no_other_from_its_end(step: str) -> None:
    gateway, calls, _ = three(step)
    await gateway.start()
    calls.clear()
    with pytest.raises(ExceptionGroup) as raised:
        await getattr(gateway, step)()
    assert [str(error) for error in raised.value.exceptions] == ["second is away"]
    assert calls == [f"{step} third", f"{step} second", f"{step} first"]


async def test_after_a_stop_that_failed_the_gateway_starts_again() -> None:
    gateway, calls, _ = three("stop")
    await gateway.start()
    with pytest.raises(ExceptionGroup):
        await gateway.stop()
    calls.clear()
    await gateway.start()
    assert calls == ["start first", "start second", "start third"]


async def test_a_start_that_fails_stops_what_had_started_and_is_tried_again() -> None:
    gateway, calls, second = three("start")
    for _ in range(2):
        with pytest.raises(OSError, match="second is away"):
            await gateway.ensure_started()
        assert calls == ["start first", "start second", "stop first"]
        calls.clear()
    second.fails = ""
    await gateway.ensure_started()
    assert calls == ["start first", "start second", "start third"]
    await gateway.stop()


async def test_a_request_starts_the_gateway_where_it_does_not_run_and_again_after_a_stop() -> None:
    gateway, calls, _ = three("")
    answered = AsyncMock()
    served = EnsureStarted(answered, gateway)
    for _ in range(2):
        calls.clear()
        for _ in range(2):
            await served({"type": "http"}, AsyncMock(), AsyncMock())
        assert calls == ["start first", "start second", "start third"]
        await gateway.stop()
    assert answered.await_count == 4
