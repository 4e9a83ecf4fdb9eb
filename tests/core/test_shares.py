"""Slots that tenants share: nobody takes more than a share, tenants are served in turn, and what waits is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from core_app.errors import Unavailable
from core_app.shares import GATEWAY, Claim, Shares, Waiter, tenant_share


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.GATEWAY_TENANT_SHARE = 0.25
    settings.GATEWAY_SESSION_THREADS = 2
    settings.GATEWAY_MAX_WAITING_REQUESTS = 3


class Queue:
    """Slots, and the names of those who were started, in order."""

    def __init__(self, slots: int) -> None:
        self.shares = Shares("test", lambda: slots)
        self.started: list[str] = []

    def enter(self, name: str, claim: Claim) -> Waiter:
        waiter = Waiter(claim, lambda: self.started.append(name))
        self.shares.enter(waiter)
        return waiter


def test_a_tenant_takes_its_share_and_the_rest_stays_free() -> None:
    queue = Queue(8)
    for number in range(4):
        queue.enter(f"greedy {number}", Claim(1, f"session {number}"))
    assert queue.started == ["greedy 0", "greedy 1"]
    queue.enter("other", Claim(2))
    queue.enter("gateway", GATEWAY)
    assert queue.started[2:] == ["other", "gateway"]


def test_one_session_takes_no_more_than_its_bound() -> None:
    queue = Queue(16)
    first = queue.enter("first", Claim(1, "locked"))
    for number in range(2):
        queue.enter(f"more {number}", Claim(1, "locked"))
    queue.enter("beside", Claim(1, "free"))
    assert queue.started == ["first", "more 0", "beside"]
    queue.shares.leave(first.claim)
    assert queue.started[-1] == "more 1"


def test_tenants_that_wait_are_served_in_turn() -> None:
    queue = Queue(1)
    holder = queue.enter("holder", GATEWAY)
    waiters = {
        f"{tenant}{number}": queue.enter(f"{tenant}{number}", Claim(ord(tenant)))
        for tenant in "ab"
        for number in (1, 2)
    }
    queue.shares.leave(holder.claim)
    while (last := queue.started[-1]) in waiters and queue.shares.waiting:
        queue.shares.leave(waiters[last].claim)
    assert queue.started == ["holder", "a1", "b1", "a2", "b2"]


def test_the_gateways_own_work_has_no_share_and_no_bound() -> None:
    queue = Queue(4)
    for number in range(6):
        queue.enter(str(number), GATEWAY)
    assert queue.started == ["0", "1", "2", "3"]
    assert queue.shares.waiting == 2


def test_too_many_that_wait_are_told_when_to_come_again() -> None:
    queue = Queue(4)
    for _ in range(4):
        queue.enter("mine", Claim(1))
    with pytest.raises(Unavailable) as refused:
        queue.enter("one too many", Claim(1))
    assert refused.value.retry_after == 1
    queue.enter("other", Claim(2))
    assert queue.started == ["mine", "other"]


def test_one_that_was_withdrawn_is_not_started() -> None:
    queue = Queue(1)
    holder = queue.enter("holder", Claim(1))
    gone = queue.enter("gone", Claim(1))
    queue.enter("next", Claim(1))
    assert queue.shares.withdraw(gone)
    queue.shares.leave(holder.claim)
    assert queue.started == ["holder", "next"]
    assert not queue.shares.withdraw(holder)


@pytest.mark.parametrize(("slots", "share"), [(1, 1), (4, 1), (6, 2), (8, 2), (24, 6)])
def test_a_share_is_a_quarter_and_one_at_least(slots: int, share: int) -> None:
    assert tenant_share(slots) == share
