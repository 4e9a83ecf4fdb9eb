"""State that two processes share: buckets in Redis, budgets in the ledger, the operator's settings in the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from core_app import database
from inference_app.catalogue.access import access_replace
from inference_app.catalogue.config import MODELS, models_config
from inference_app.catalogue.overlay import Overlay, overlay_replace
from inference_app.errors import BudgetSpent
from inference_app.models import Alias, Provider
from inference_app.operator.operator_settings import OperatorSettings
from inference_app.operator.services import provider_save
from inference_app.relay.admission import budget_headers
from inference_app.spend.budgets import BUDGETS, BudgetRule, Budgets, Reservation
from inference_app.spend.path_limits import PathLimits
from inference_app.spend.usage import Usage
from tenants_app.limits import RateLimits
from tenants_app.principal import Principal
from tenants_app.services import LedgerRow, ledger_record_many
from tests.agents.conftest import Upstream
from tests.conftest import Caller
from tests.faces.inference.conftest import RelayClient
from tests.fixed_clock import clock_fixed
from tests.settings import DEPLOYMENT

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
NAMES = ("p:m", "m")


@pytest.fixture(autouse=True)
def _one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the clock so that no budget period ends during a test."""
    clock_fixed(monkeypatch)


@pytest.fixture
def rows_forgotten(upstream: Upstream) -> Iterator[None]:
    yield
    overlay_replace(Overlay(), {})
    access_replace({})
    BUDGETS.rules_replace([])
    MODELS.forget()


@asynccontextmanager
async def path_limits() -> AsyncIterator[PathLimits]:
    """Opens the path limits of one process."""
    buckets = RateLimits()
    try:
        yield PathLimits(buckets)
    finally:
        await buckets.close()


def bucket(settings: Any, rpm: int) -> None:
    path = Path(settings.GATEWAY_CONFIG)
    path.write_text(path.read_text() + f'    rate_limit: {{"/v1/chat/completions": {{rpm: {rpm}}}}}\n')
    MODELS.forget()


@pytest.mark.parametrize("rpm", [5, 1300])
async def test_a_bucket_gives_no_more_to_two_processes_than_to_one(
    upstream: Upstream, owner: Caller, settings: Any, rpm: int
) -> None:
    """Tokens taken in blocks have left the bucket, so together never more than it holds (and refills meanwhile)."""
    if DEPLOYMENT == "embedded":
        pytest.skip("the embedded deployment is one process")
    bucket(settings, rpm)
    config, principal = models_config(), owner.principal
    async with AsyncExitStack() as stack:
        two = [await stack.enter_async_context(path_limits()) for _ in range(2)]
        loop = asyncio.get_running_loop()
        began, given = loop.time(), [0, 0]
        for number in range(2 * rpm):
            place = number % 2
            taken = await two[place].take(config, principal, "chat")
            assert taken is not None
            given[place] += not taken.limited
        refilled = int((loop.time() - began) * rpm / 60) + 1
    assert all(given)
    assert rpm <= sum(given) <= rpm + refilled


def spent(caller: Caller, number: int, tokens: int) -> None:
    """Writes a ledger entry as another process does."""
    principal = caller.principal
    row = LedgerRow(principal.tenant_id, f"req_{number}", 1, "p:m", tokens, 0, api_key_id=principal.key_id)
    row.created_at = NOON
    ledger_record_many([row])


async def reserve(budgets: Budgets, caller: Caller, tokens: int) -> Reservation:
    principal = caller.principal
    reservation = await budgets.reserve(principal.tenant_id, principal.key_id, NAMES, tokens, Decimal(0))
    assert reservation is not None
    return reservation


async def test_a_process_sees_what_another_one_spent_at_its_next_look(transactional_db: None, owner: Caller) -> None:
    two = [Budgets(lambda: NOON) for _ in range(2)]
    rule = BudgetRule(1, owner.principal.tenant_id, "day", tokens=100)
    for budgets in two:
        budgets.rules_replace([rule])
    mine, theirs = two
    first = await reserve(mine, owner, 10)
    other = await reserve(theirs, owner, 10)
    assert first is not None
    assert other is not None
    assert dict(budget_headers(other)) == {b"x-gateway-budget-tokens-left": b"100"}
    await database.run(spent, owner, 1, 100)
    first.settle(Usage(100, 0), None)
    # In this process at once; in the other one within SYNC_SECONDS, by the ledger.
    with pytest.raises(BudgetSpent) as refused:
        await reserve(mine, owner, 1)
    assert refused.value.status == 402
    await theirs.sync()
    with pytest.raises(BudgetSpent):
        await reserve(theirs, owner, 1)


async def test_what_a_run_spent_counts_at_once_and_never_twice(transactional_db: None, owner: Caller) -> None:
    budgets, principal = Budgets(lambda: NOON), owner.principal
    budgets.rules_replace([BudgetRule(1, principal.tenant_id, "day", tokens=100)])

    async def run_request(number: int, tokens: int) -> None:
        held = await reserve(budgets, owner, 80)
        await database.run(spent, owner, number, tokens)
        # A look at the ledger that sees the row before the run says so.
        await budgets.sync()
        held.settle(Usage(tokens, 0), None)
        held.confirm(None)

    await run_request(1, 60)
    await run_request(2, 40)
    with pytest.raises(BudgetSpent):
        await reserve(budgets, owner, 1)


async def test_two_processes_overspend_by_no_more_than_what_is_in_flight(transactional_db: None, owner: Caller) -> None:
    """A hundred concurrent calls over two processes: only calls in progress at that moment exceed the budget."""
    two = [Budgets(lambda: NOON) for _ in range(2)]
    for budgets in two:
        budgets.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=200)])
    cost, under_way, most, charged, numbers = 25, 0, 0, 0, iter(range(1000))

    async def call(budgets: Budgets) -> None:
        nonlocal under_way, most, charged
        try:
            reservation = await reserve(budgets, owner, cost)
        except BudgetSpent:
            return
        under_way += cost
        most = max(most, under_way)
        await asyncio.sleep(0)
        await database.run(spent, owner, next(numbers), cost)
        reservation.settle(Usage(cost, 0), None)
        reservation.confirm(None)
        charged += cost
        under_way -= cost

    for _ in range(10):
        await asyncio.gather(*(call(budgets) for budgets in two for _ in range(5)))
        for budgets in two:
            await budgets.sync()
    assert 200 <= charged <= 200 + most
    for budgets in two:
        with pytest.raises(BudgetSpent):
            await reserve(budgets, owner, 1)


class Shares:
    """Statistics of a deployment with several processes."""

    def __init__(self, processes: int) -> None:
        self.process_count = lambda: processes


@pytest.mark.parametrize("processes", [1, 2, 4])
async def test_requests_at_once_overspend_by_at_most_one_request_per_process(
    transactional_db: None, owner: Caller, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """Nobody looks at the ledger in between, and no request ends."""
    monkeypatch.setattr("inference_app.spend.budgets.STATS", Shares(processes))
    every = [Budgets(lambda: NOON) for _ in range(processes)]
    for budgets in every:
        budgets.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=20_000)])
    asked = [reserve(budgets, owner, 1000) for _ in range(40) for budgets in every]
    held = [got for got in await asyncio.gather(*asked, return_exceptions=True) if isinstance(got, Reservation)]
    assert 20_000 <= len(held) * 1000 <= 20_000 + processes * 1000


async def test_a_process_may_use_what_the_others_leave(
    transactional_db: None, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_app.spend.budgets.STATS", Shares(4))
    monkeypatch.setattr("inference_app.spend.budgets.LOOK_SECONDS", 0.0)
    budgets = Budgets(lambda: NOON)
    budgets.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=100)])
    for number in range(10):
        held = await reserve(budgets, owner, 10)
        await database.run(spent, owner, number, 10)
        held.settle(Usage(10, 0), None)
        held.confirm(None)
    with pytest.raises(BudgetSpent):
        await reserve(budgets, owner, 1)


async def test_two_looks_at_once_take_nothing_twice(transactional_db: None, owner: Caller) -> None:
    budgets = Budgets(lambda: NOON)
    budgets.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=100)])
    held = await reserve(budgets, owner, 60)
    await database.run(spent, owner, 1, 60)
    held.settle(Usage(60, 0), None)
    held.confirm(None)
    await asyncio.gather(*(budgets.sync() for _ in range(5)))
    assert (await reserve(budgets, owner, 1)).left == (40, None)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 90), st.booleans()), max_size=30))
@settings(max_examples=50, deadline=None)
def test_whatever_calls_estimate_and_use_the_windows_sums_stay_exact(calls: list[tuple[int, int, bool]]) -> None:
    asyncio.run(_sums_checked(calls))


async def _sums_checked(calls: list[tuple[int, int, bool]]) -> None:
    class Unread(Budgets):
        async def _read_ledger(self, window: Any, *, asked: float) -> None:
            window.based_at = NOON

    budgets = Unread(lambda: NOON)
    budgets.rules_replace([BudgetRule(1, 7, "day", tokens=500)])
    who = Principal(7, "t", 1, "k", frozenset())
    held, used, open_calls = 0, 0, []
    for estimate, actual, ends in calls:
        try:
            reservation = await budgets.reserve(who.tenant_id, who.key_id, NAMES, estimate, Decimal(0))
        except BudgetSpent:
            assert held + used >= 500
        else:
            assert reservation is not None
            assert reservation.left[0] == max(0, 500 - held - used)
            held += estimate
            open_calls.append((reservation, estimate, actual))
        if ends and open_calls:
            reservation, estimate, actual = open_calls.pop(0)
            for _ in range(2):
                reservation.settle(Usage(actual, 0), None)
            for _ in range(2):
                reservation.confirm(None)
            held, used = held - estimate, used + actual


async def test_a_change_of_a_row_is_in_force_in_another_process_at_its_next_look(
    relay: RelayClient, rows_forgotten: None
) -> None:
    elsewhere = OperatorSettings()
    await elsewhere.refresh()
    # As another process saves it: the one that does has it in force at once.
    await database.run(Alias(name="new-name", targets="second:hello").save)
    assert (await relay.chat("new-name")).status == 404
    await elsewhere.refresh()
    assert (await relay.chat("new-name")).status == 200


async def test_rows_that_cannot_be_used_leave_what_was_in_force_and_say_so(
    relay: RelayClient, rows_forgotten: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The alias is written to the database directly, not through the services."""
    elsewhere = OperatorSettings()
    await elsewhere.refresh()
    assert (await relay.chat("hello")).status == 200
    await database.run(lambda: Alias.objects.create(name="broken", targets=[{"weight": 1}]))
    await elsewhere.refresh()
    assert "models.model_aliases.broken" in caplog.text
    assert "The configuration in force before stays in force." in caplog.text
    assert (await relay.chat("hello")).status == 200
    await database.run(Alias.objects.filter(name="broken").delete)
    await elsewhere.refresh()
    assert (await relay.chat("hello")).status == 200


@pytest.mark.django_db
def test_a_stored_key_is_encrypted_in_its_column(upstream: Upstream, rows_forgotten: None) -> None:
    entry = {"base_url": upstream.url}
    provider_save(provider=Provider(name="sealed", entry=entry), key="sk-nobody-reads-this", actor="test")
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM inference_app_provider")
        (raw,) = cursor.fetchall()
    assert raw
    assert "nobody-reads" not in str(raw)
