"""The circuit breaker as a state machine, and what processes tell each other of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import CapturingLogger

from inference_app.catalogue.config import BreakerPolicy
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuits import CIRCUITS, Circuits
from inference_app.providers.state_sync import SharedState
from inference_app.providers.stats import Stats
from tests.settings import DEPLOYMENT

ONE = Candidate("p", "m:1")
POLICY = BreakerPolicy()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_three_faults_in_a_row_open_and_one_probe_closes() -> None:
    clock = Clock()
    circuits = Circuits(clock)
    for _ in range(2):
        circuits.failed(ONE, POLICY)
    circuits.succeeded(ONE)
    for _ in range(3):
        assert circuits.blocked_for(ONE, POLICY) is None
        circuits.failed(ONE, POLICY)
    assert circuits.blocked_for(ONE, POLICY) == 30
    clock.now += 30
    assert (circuits.state(ONE), circuits.blocked_for(ONE, POLICY)) == ("HALF_OPEN", None)
    circuits.begin(ONE)
    assert circuits.blocked_for(ONE, POLICY) is not None
    circuits.succeeded(ONE)
    assert (circuits.state(ONE), circuits.blocked_for(ONE, POLICY)) == ("CLOSED", None)


def test_a_probe_that_fails_opens_again_at_once_and_one_whose_client_leaves_makes_room() -> None:
    clock = Clock()
    circuits = Circuits(clock)
    for _ in range(3):
        circuits.failed(ONE, POLICY)
    clock.now += 30
    circuits.begin(ONE)
    circuits.left(ONE)
    assert circuits.blocked_for(ONE, POLICY) is None
    circuits.begin(ONE)
    circuits.failed(ONE, POLICY)
    assert circuits.blocked_for(ONE, POLICY) == 30


@given(st.lists(st.sampled_from(["begin", "failed", "succeeded", "left", "cool", "wait"]), max_size=60))
def test_whatever_happens_a_circuit_ends_closed_after_rest_and_success(steps: list[str]) -> None:
    clock = Clock()
    circuits = Circuits(clock)
    for step in steps:
        if step == "wait":
            clock.now += 10
        elif step == "failed":
            circuits.failed(ONE, POLICY)
        elif step == "cool":
            circuits.cool(ONE, 5)
        else:
            getattr(circuits, step)(ONE)
    clock.now += 200
    assert circuits.blocked_for(ONE, POLICY) is None
    circuits.begin(ONE)
    circuits.succeeded(ONE)
    assert (circuits.state(ONE), circuits.blocked_for(ONE, POLICY)) == ("CLOSED", None)


@asynccontextmanager
async def process() -> AsyncIterator[tuple[Circuits, Stats, SharedState]]:
    circuits, stats = Circuits(), Stats()
    shared = SharedState(circuits, stats)
    await shared.start()
    try:
        yield circuits, stats, shared
    finally:
        await shared.stop()


@pytest_asyncio.fixture
async def two(transactional_db: None) -> AsyncIterator[list[tuple[Circuits, Stats, SharedState]]]:
    if DEPLOYMENT == "embedded":
        pytest.skip("the embedded deployment is one process")
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(process()) for _ in range(2)]


async def test_processes_agree_about_circuits_cooling_and_statistics(
    two: list[tuple[Circuits, Stats, SharedState]],
) -> None:
    (mine, my_stats, me), (theirs, their_stats, they) = two
    for _ in range(3):
        mine.failed(ONE, POLICY)
    mine.cool(Candidate("p", "cooling"), 60)
    my_stats.ended("p", "m", "ok", 5.0)
    their_stats.ended("p", "m", "failed", 7.0)
    await me.share()
    await they.share()
    assert theirs.state(ONE) == "OPEN"
    assert (theirs.blocked_for(Candidate("p", "cooling"), POLICY) or 0) > 50
    assert their_stats.to_wire()["providers"]["p"]["requests"] == 2
    theirs.succeeded(ONE)
    await they.share()
    await me.share()
    assert mine.state(ONE) == "CLOSED"
    assert my_stats.to_wire()["total_failures"] == 1


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="processes meet in Redis")
@pytest.mark.django_db(transaction=True)
async def test_sharing_ends_at_whatever_point_of_its_talk_with_redis_it_is_told_to() -> None:
    for turns in range(40):  # connecting, sending and reading take about 30
        shared = SharedState(Circuits(), Stats())
        await shared.start()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await shared.stop()


def test_this_processs_circuits_are_its_own_without_redis() -> None:
    CIRCUITS.failed(ONE, POLICY)
    CIRCUITS.reset()
    assert CIRCUITS.state(ONE) == "CLOSED"


@pytest.mark.django_db(transaction=True)
async def test_an_outage_of_redis_is_one_line_and_its_end_another(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.GATEWAY_REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr("inference_app.providers.state_sync.POLL_SECONDS", 0.0)
    said = CapturingLogger()
    monkeypatch.setattr("inference_app.providers.state_sync.logger", said)
    shared, rounds, over = SharedState(Circuits(), Stats()), iter([True, True, True, False, False]), asyncio.Event()

    async def share() -> None:
        match next(rounds, None):
            case True:
                raise ConnectionError("refused")
            case None:
                over.set()

    monkeypatch.setattr(shared, "share", share)
    await shared.start()
    async with asyncio.timeout(60):
        await over.wait()
    await shared.stop()
    assert [call.method_name for call in said.calls] == ["warning", "info"]
