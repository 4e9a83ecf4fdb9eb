"""Bodies in memory are bounded in all and for each tenant, by the bytes that have arrived."""

from __future__ import annotations

from typing import Any

import pytest

from core_app.errors import GatewayError
from edge_app.http.body_budget import FREE_BYTES, BodyBudget

ONE, OTHER = 1, 2
TOTAL = 10 * FREE_BYTES


@pytest.fixture
def budget() -> BodyBudget:
    return BodyBudget(lambda: TOTAL)


def refusal(call: Any, size: int) -> tuple[int, bool]:
    with pytest.raises(GatewayError) as refused:
        call(size)
    return refused.value.status, refused.value.retry_after is not None


def test_a_tenant_holds_at_most_half_and_another_has_room(budget: BodyBudget) -> None:
    budget.open_share(ONE).grow_to(TOTAL // 2)
    assert refusal(budget.open_share(ONE).grow_to, FREE_BYTES + 1) == (429, True)
    budget.open_share(OTHER).grow_to(TOTAL // 2)
    assert budget.held_bytes == TOTAL
    assert refusal(budget.open_share(3).grow_to, FREE_BYTES + 1) == (503, True)


def test_small_bodies_always_have_room(budget: BodyBudget) -> None:
    budget.open_share(ONE).grow_to(TOTAL)
    budget.open_share(ONE).grow_to(FREE_BYTES)
    budget.open_share(None).expect(FREE_BYTES)
    assert budget.held_bytes == TOTAL


def test_one_body_may_be_larger_than_a_tenants_share_and_than_all(budget: BodyBudget) -> None:
    share = budget.open_share(ONE)
    for size in range(FREE_BYTES, 2 * TOTAL, FREE_BYTES):
        share.grow_to(size)
    assert refusal(budget.open_share(OTHER).grow_to, FREE_BYTES + 1) == (503, True)


def test_what_is_announced_is_refused_before_it_is_read_and_holds_nothing(budget: BodyBudget) -> None:
    budget.open_share(ONE).grow_to(TOTAL // 2)
    second = budget.open_share(ONE)
    assert refusal(second.expect, FREE_BYTES + 1) == (429, True)
    budget.open_share(OTHER).expect(TOTAL // 2)
    assert budget.held_bytes == TOTAL // 2


def test_a_body_counts_until_it_is_released_and_once(budget: BodyBudget) -> None:
    share = budget.open_share(ONE)
    share.grow_to(TOTAL // 2)
    share.grow_to(TOTAL // 2 + 1)
    share.release()
    share.release()
    assert budget.held_bytes == 0
    budget.open_share(OTHER).grow_to(TOTAL)
