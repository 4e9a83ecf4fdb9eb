"""The circuit breaker as a state machine, and its state that processes share."""

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
from inference_app.providers.circuits import CIRCUITS, MAX_CIRCUITS, MAX_OF_TENANT, Circuits
from inference_app.providers.state_sync import SharedState
from inference_app.providers.stats import Stats
from tests.settings import DEPLOYMENT

ONE = Candidate("p", "m:1")
POLICY = BreakerPolicy()
A, B, C, D = 1, 2, 3, 4
"""Tenants."""


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def fail(circuits: Circuits, *tenants: int, candidate: Candidate = ONE, connecting: bool = False) -> None:
    """Fails a call of each of the tenants."""
    for tenant in tenants:
        circuits.begin(candidate, tenant)
        circuits.note_failure(candidate, POLICY, tenant, connecting=connecting)


def answer(circuits: Circuits, *tenants: int) -> None:
    for tenant in tenants:
        circuits.begin(ONE, tenant)
        circuits.note_success(ONE, tenant)


def blocked(circuits: Circuits, *tenants: int) -> list[float | None]:
    return [circuits.blocked_for(ONE, POLICY, tenant) for tenant in tenants]


def opened_for_all(clock: Clock) -> Circuits:
    """Returns circuits of which the one of all was opened by three tenants, the last of them C."""
    circuits = Circuits(clock)
    for _ in range(2):
        fail(circuits, A, B, A, B, C)
    assert circuits.state(ONE) == "OPEN"
    assert blocked(circuits, A, B, C, D) == [30, 30, 30, 30]
    return circuits


def test_a_tenants_failed_calls_in_a_row_block_that_tenant_and_one_probe_closes() -> None:
    clock = Clock()
    circuits = Circuits(clock)
    fail(circuits, A, A)
    answer(circuits, A)
    fail(circuits, A, A)
    assert blocked(circuits, A) == [None]
    fail(circuits, A)
    assert blocked(circuits, A, B) == [30, None]
    assert circuits.state(ONE) == "OPEN"
    clock.now += 30
    assert (circuits.state(ONE), blocked(circuits, A)) == ("HALF_OPEN", [None])
    circuits.begin(ONE, A)
    assert blocked(circuits, A) == [1.0]
    circuits.note_success(ONE, A)
    assert (circuits.state(ONE), blocked(circuits, A)) == ("CLOSED", [None])


def test_however_often_one_tenant_fails_the_others_are_served() -> None:
    clock = Clock()
    circuits = Circuits(clock)
    for _ in range(200):
        fail(circuits, A)
        clock.now += 0.5
        assert blocked(circuits, B) == [None]
    answer(circuits, B)
    assert (blocked(circuits, A) == [None], circuits.state(ONE)) == (False, "CLOSED")


def test_one_unlucky_call_of_another_tenant_does_not_open_the_circuit_of_all() -> None:
    circuits = Circuits(Clock())
    fail(circuits, *[A] * 30, B)
    assert blocked(circuits, B, C) == [None, None]


def test_half_of_the_calls_of_several_tenants_open_the_circuit_of_all() -> None:
    opened_for_all(Clock())
    circuits = Circuits(Clock())
    fail(circuits, A, B, A, B)
    answer(circuits, *[C] * 6)
    fail(circuits, D)
    assert blocked(circuits, C) == [None]


def test_calls_from_before_the_window_do_not_count() -> None:
    clock = Clock()
    circuits = Circuits(clock)
    fail(circuits, A, B, A, B, C)
    clock.now += 61
    fail(circuits, A, B, A, B, C)
    assert blocked(circuits, D) == [None]


def test_failed_connects_of_one_tenant_open_the_circuit_of_all() -> None:
    circuits = Circuits(Clock())
    fail(circuits, A, A, connecting=True)
    assert blocked(circuits, B) == [None]
    fail(circuits, A, connecting=True)
    assert blocked(circuits, B) == [30]


def test_the_tenant_that_failed_last_is_no_probe_while_another_waits() -> None:
    clock = Clock()
    circuits = opened_for_all(clock)
    for _ in range(3):
        clock.now += 30
        assert blocked(circuits, C, D) == [30, None]
        fail(circuits, D)
        assert blocked(circuits, D) == [30]
        clock.now += 30
        assert blocked(circuits, D) == [30]
        assert blocked(circuits, C) == [None]
        fail(circuits, C)
    clock.now += 30
    answer(circuits, D)
    assert blocked(circuits, A, B, D) == [None, None, None]


def test_a_tenant_that_is_alone_may_probe_after_its_own_failure() -> None:
    clock = Clock()
    circuits = Circuits(clock)
    fail(circuits, A, A, A, connecting=True)
    clock.now += 30
    assert blocked(circuits, A) == [None]


def test_nobody_waits_for_ever_for_a_better_probe() -> None:
    clock = Clock()
    circuits = opened_for_all(clock)
    clock.now += 60
    assert blocked(circuits, C) == [None]


def test_failures_from_before_the_circuit_was_closed_do_not_open_it_again() -> None:
    clock = Clock()
    circuits = opened_for_all(clock)
    clock.now += 30
    answer(circuits, D)
    fail(circuits, A)
    assert blocked(circuits, B, D) == [None, None]


def test_a_probe_that_fails_opens_again_at_once_and_one_whose_client_leaves_makes_room() -> None:
    clock = Clock()
    circuits = Circuits(clock)
    fail(circuits, A, A, A)
    clock.now += 30
    circuits.begin(ONE, A)
    circuits.note_abandoned(ONE, A)
    assert blocked(circuits, A) == [None]
    circuits.begin(ONE, A)
    circuits.note_failure(ONE, POLICY, A)
    assert blocked(circuits, A) == [30]


def test_a_limit_cools_its_tenant_until_a_second_one_is_limited_and_nobody_is_answered() -> None:
    circuits = Circuits(Clock())
    circuits.cool(ONE, 60, A)
    assert blocked(circuits, A, B) == [60, None]
    answer(circuits, B)
    circuits.cool(ONE, 50, B)
    assert blocked(circuits, A, B, C) == [60, 50, None]
    circuits.cool(ONE, 40, C)
    assert blocked(circuits, D) == [40]


def test_what_a_tenant_can_make_the_gateway_remember_is_bounded() -> None:
    circuits = Circuits(Clock())
    for tenant in range(50):
        for number in range(300):
            circuits.note_failure(Candidate("p", f"m{number}"), POLICY, tenant)
    for _ in range(3):
        circuits.note_failure(ONE, POLICY, 1000)
    for number in range(20_000):
        circuits.note_failure(Candidate("p", f"x{number}"), POLICY, A)
    assert sum(len(mine) for mine in circuits._of_tenants.values()) <= 51 * MAX_OF_TENANT
    assert len(circuits._windows) <= MAX_CIRCUITS
    assert blocked(circuits, 1000) == [30]


STEPS = ["begin", "note_failure", "note_success", "note_abandoned", "cool", "connect", "wait"]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from([1, 2, 3])), max_size=80))
def test_whatever_happens_a_circuit_ends_closed_after_rest_and_success(steps: list[tuple[str, int]]) -> None:
    clock = Clock()
    circuits = Circuits(clock)
    for step, tenant in steps:
        if step == "wait":
            clock.now += 10
        elif step in ("note_failure", "connect"):
            circuits.note_failure(ONE, POLICY, tenant, connecting=step == "connect")
        elif step == "cool":
            circuits.cool(ONE, 5, tenant)
        else:
            getattr(circuits, step)(ONE, tenant)
    clock.now += 200
    for tenant in (1, 2, 3):
        assert blocked(circuits, tenant) == [None]
        answer(circuits, tenant)
        assert blocked(circuits, tenant) == [None]
    assert circuits.state(ONE) == "CLOSED"
    assert not circuits._known


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from([1, 2, 3])), max_size=80))
def test_a_tenant_that_never_fails_is_never_blocked_by_one_other(steps: list[tuple[str, int]]) -> None:
    clock = Clock()
    circuits = Circuits(clock)
    for step, tenant in steps:
        if step == "wait":
            clock.now += 10
        elif tenant == A:
            circuits.note_failure(ONE, POLICY, A)
        else:
            assert blocked(circuits, B) == [None]
            answer(circuits, B)


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
    fail(mine, A, A, A)
    fail(mine, A, B, A, B, connecting=True)
    mine.cool(Candidate("p", "cooling"), 60, A)
    my_stats.record_call("p", "m", "ok", 5.0)
    their_stats.record_call("p", "m", "failed", 7.0)
    await me.share()
    await they.share()
    assert theirs.state(ONE) == "OPEN"
    assert all(seconds is not None and seconds > 20 for seconds in blocked(theirs, A, C))
    assert (theirs.blocked_for(Candidate("p", "cooling"), POLICY, A) or 0) > 50
    assert theirs.blocked_for(Candidate("p", "cooling"), POLICY, B) is None
    assert their_stats.to_wire()["providers"]["p"]["requests"] == 2
    theirs.note_success(ONE, A)
    await they.share()
    await me.share()
    assert mine.state(ONE) == "CLOSED"
    assert my_stats.to_wire()["total_failures"] == 1


async def test_calls_to_several_processes_open_the_circuit_of_all_together(
    two: list[tuple[Circuits, Stats, SharedState]],
) -> None:
    (mine, _, me), (theirs, _, they) = two
    # Redis still has the calls that the processes of the test before counted.
    model = Candidate("p", "of two processes")
    fail(mine, A, B, A, B, C, candidate=model)
    await me.share()
    await they.share()
    fail(theirs, C, A, B, C, candidate=model)
    assert theirs.blocked_for(model, POLICY, D) is None
    fail(theirs, C, candidate=model)
    assert theirs.state(model) == "OPEN"
    await they.share()
    await me.share()
    assert mine.blocked_for(model, POLICY, D) is not None


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
    fail(CIRCUITS, A, A, A)
    assert CIRCUITS.state(ONE) == "OPEN"
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
