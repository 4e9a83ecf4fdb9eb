"""Every request to a provider is in the ledger once, and one that cannot be written costs nobody else anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError

from core_app import clock, database
from core_app.metrics import CALLS_LOST
from inference_app.catalogue.resolution import Candidate
from inference_app.models import RelayedDay
from inference_app.providers.retry_policy import Fault
from inference_app.spend import batch_write, metering
from inference_app.spend.batch_write import RequestSpend
from inference_app.spend.budgets import BUDGETS, BudgetRule
from inference_app.spend.ledger_sums import spend_between
from inference_app.spend.metering import METER, CallRecord
from inference_app.spend.request_price import request_price
from inference_app.spend.usage import ReportedUsage, Usage
from tenants_app.ledger_kinds import ABANDONED_AFTER, FOLDED_AFTER
from tenants_app.models import LedgerEntry
from tenants_app.numbers import MAX_TOKENS, MAX_USD
from tenants_app.services import LedgerRow, ledger_record_many
from tenants_app.services.usage import usage_fold
from tests.agents.conftest import Upstream
from tests.conftest import Caller
from tests.faces.inference.conftest import RelayClient, ledger
from tests.gateway_harness import GatewayHarness, eventually

MODEL = Candidate("scripted", "hello")


@pytest.fixture(autouse=True)
def _no_budgets() -> Iterator[None]:
    yield
    BUDGETS.rules_replace([])


def rows_of(entries: list[LedgerEntry]) -> list[tuple[str, int, int, str]]:
    return [(entry.model, entry.input_tokens, entry.output_tokens, entry.kind) for entry in entries]


def spend_of(caller: Caller, run: str, **fields: Any) -> RequestSpend:
    principal = caller.principal
    values: dict[str, Any] = {"tenant_id": principal.tenant_id, "usage": Usage(10, 5), **fields}
    return RequestSpend(
        origin="inference",
        key_id=principal.key_id,
        run_id=run,
        number=1,
        candidate=MODEL,
        price=partial(request_price, MODEL),
        **values,
    )


def record(caller: Caller, spend: RequestSpend) -> None:
    principal = caller.principal
    METER.record(CallRecord(principal, spend.candidate, "ok", 1.0, 2.0, spend))


async def test_a_call_of_a_tenant_that_is_gone_keeps_nobody_elses_from_being_written(
    gateway: GatewayHarness, relay: RelayClient, owner: Caller
) -> None:
    before = CALLS_LOST.labels("refused")._value.get()
    for number in range(9):
        record(owner, spend_of(owner, f"good-{number}"))
    METER.record_spend(spend_of(owner, "poison", tenant_id=10**9))
    record(owner, spend_of(owner, "good-9"))
    assert sorted(entry.run_id for entry in await ledger()) == [f"good-{number}" for number in range(10)]
    assert (METER.gathered, CALLS_LOST.labels("refused")._value.get() - before) == (0, 1)
    assert await database.run(lambda: RelayedDay.objects.get().requests) == 10


async def test_counts_that_the_database_refuses_keep_no_call_from_being_written(
    gateway: GatewayHarness, relay: RelayClient, owner: Caller
) -> None:
    METER.record_failed_attempt(owner.principal, MODEL, "500")
    (cell,) = METER._counts.cells
    METER._counts.cells[cell._replace(tenant_id=10**9)] = METER._counts.cells.pop(cell)
    record(owner, spend_of(owner, "good"))
    assert [entry.run_id for entry in await ledger()] == ["good"]
    assert await database.run(lambda: RelayedDay.objects.get().requests) == 1


async def test_a_usage_that_no_model_has_is_bounded_where_it_is_read(relay: RelayClient) -> None:
    assert (await relay.chat("scripted:absurd")).status == 200
    assert (await relay.chat("hello")).status == 200
    first, second = await ledger()
    assert (first.input_tokens, first.output_tokens) == (MAX_TOKENS, MAX_TOKENS)
    assert second.input_tokens == 11


@pytest.mark.parametrize(
    "reported",
    [
        ReportedUsage(prompt_tokens=2**63, completion_tokens=10**30),
        ReportedUsage(input_tokens=2**63, output_tokens=10**30, cache_read_input_tokens=2**62),
    ],
)
def test_reported_counts_are_bounded_before_anybody_adds_them_up(reported: ReportedUsage) -> None:
    usage = reported.usage()
    assert (usage.input, usage.output) == (MAX_TOKENS, MAX_TOKENS)
    assert usage.cached <= usage.input


@pytest.mark.django_db
def test_a_cost_that_no_request_has_is_bounded(owner: Caller) -> None:
    for run, cost in (("much", Decimal(10) ** 15), ("less", Decimal(-1)), ("none", Decimal("NaN"))):
        ledger_record_many([LedgerRow(owner.principal.tenant_id, run, 1, "p:m", 1, 1, cost_usd=cost)])
    found = dict(LedgerEntry.objects.values_list("run_id", "cost_usd"))
    assert found == {"much": MAX_USD, "less": Decimal(0), "none": None}
    assert usage_fold() == 3


async def test_a_call_settles_its_reservation_when_it_ends_and_not_when_it_is_written(
    relay: RelayClient, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    BUDGETS.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=20_000)])
    with monkeypatch.context() as broken:
        broken.setattr(batch_write, "ledger_record_many", fail_to_write)
        assert (await relay.chat("hello")).status == 200
        with pytest.raises(OperationalError):
            await METER.flush()
        await BUDGETS.sync()
        # Neither the reservation nor nothing, although the ledger does not have it.
        assert (await relay.chat("hello")).headers["x-gateway-budget-tokens-left"] == "19982"
    await METER.flush()
    await BUDGETS.sync()
    assert (await relay.chat("hello")).headers["x-gateway-budget-tokens-left"] == "19964"


def fail_to_write(rows: object) -> None:
    raise OperationalError("the database is away")


async def test_a_stream_that_its_client_leaves_is_in_the_ledger_as_an_estimate(relay: RelayClient) -> None:
    body: dict[str, Any] = {"model": "scripted:slow:1", "messages": [], "stream": True}
    async with relay.open_request("/v1/chat/completions", body) as heard:
        await heard.until(lambda: len(heard.body) > 2000)
    (entry,) = await ledger()
    assert entry.kind == "inference_estimate"
    assert entry.output_tokens >= 5


async def test_a_request_that_times_out_is_in_the_ledger_beside_the_one_that_answers(relay: RelayClient) -> None:
    assert (await relay.chat("hanging-first", stream=True)).status == 200
    rows = rows_of(await ledger())
    estimates = [row for row in rows if row[3] == "inference_estimate"]
    assert [(model, output) for model, _, output, _ in rows if (model, output) == ("second:hello", 7)]
    assert {(model, output) for model, _, output, _ in estimates} == {("hasty:hang:0", 0)}
    assert all(given > 0 for _, given, _, _ in estimates)


@pytest.mark.parametrize("model", ["scripted:status:500", "closed:hello", "scripted:status:400"])
async def test_a_request_that_a_provider_refused_or_never_had_costs_nothing(relay: RelayClient, model: str) -> None:
    await relay.chat(model)
    assert await ledger() == []


@pytest.mark.parametrize(
    ("fault", "costs"),
    [
        (Fault("timeout", "timeout"), True),
        (Fault("disconnected", "connection_broken"), True),
        (Fault("garbage", "invalid_answer"), False),
        (Fault("connect", "connection_failed"), False),
        (Fault("status", "500", 500), False),
        (Fault("stream_error", "overloaded"), False),
    ],
)
def test_what_a_failed_attempt_costs_follows_from_its_fault(fault: Fault, costs: bool) -> None:
    assert fault.may_have_cost is costs


async def test_counting_tokens_is_free(relay: RelayClient) -> None:
    body = {"model": "messages:hello", "messages": [{"role": "user", "content": "Hi"}]}
    assert (await relay.post("/v1/messages/count_tokens", body)).status == 200
    assert await ledger() == []


async def test_a_running_stream_is_in_the_ledger_before_it_ends_and_once_after(
    relay: RelayClient, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any moment in between, the process leaves a row behind."""
    monkeypatch.setattr(metering, "OPEN_SECONDS", 0.0)
    body: dict[str, Any] = {"model": "scripted:slow:5:400", "messages": [], "stream": True}
    async with relay.open_request("/v1/chat/completions", body) as heard:
        await heard.until(lambda: len(heard.body) > 2000)
        await METER.open_rows_write()
        (entry,) = await ledger()
        assert (entry.kind, entry.output_tokens > 0) == ("inference_open", True)
        # A row that may still change is in no sum of a day.
        assert await database.run(usage_fold) == 0
        monkeypatch.setattr(metering, "REFRESH_SECONDS", 0.0)
        seen = len(heard.body)
        await heard.until(lambda: len(heard.body) > seen + 2000)
        await METER.open_rows_write()
        (renewed,) = await ledger()
        assert renewed.output_tokens > entry.output_tokens
        await heard.until(lambda: heard.ended)
    (final,) = await ledger()
    assert (final.pk, final.kind, final.output_tokens) == (entry.pk, "inference", 7)
    assert await database.run(usage_fold) == 1
    await METER.open_rows_write()
    assert rows_of(await ledger()) == rows_of([final])


@pytest.mark.django_db
def test_an_open_row_counts_in_budgets_and_days_once_its_process_must_be_gone(
    owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, tenant = clock.now(), owner.principal.tenant_id
    ledger_record_many([LedgerRow(tenant, "killed", 1, "p:m", 30, 12, kind="inference_open", created_at=now)])
    assert (spend_between(tenant, None, "", now, now + FOLDED_AFTER).tokens, usage_fold()) == (0, 0)
    monkeypatch.setattr(clock, "now", lambda: now + ABANDONED_AFTER * 1.01)
    assert (spend_between(tenant, None, "", now, now + FOLDED_AFTER).tokens, usage_fold()) == (42, 0)
    monkeypatch.setattr(clock, "now", lambda: now + FOLDED_AFTER * 1.01)
    assert usage_fold() == 1
    ledger_record_many([LedgerRow(tenant, "killed", 1, "p:m", 99, 99, kind="inference", created_at=now)])
    assert LedgerEntry.objects.get().input_tokens == 30, "a folded row was changed, and its day was not"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [
        ("inference_open", "inference_open", True),
        ("inference_open", "inference_estimate", True),
        ("inference_open", "inference", True),
        ("inference_estimate", "inference", True),
        ("inference_estimate", "inference_open", False),
        ("inference", "inference_open", False),
        ("inference", "inference_estimate", False),
        ("inference", "inference", False),
    ],
)
def test_only_a_better_known_usage_replaces_a_row(owner: Caller, before: str, after: str, replaced: bool) -> None:
    for kind, tokens in ((before, 1), (after, 2)):
        ledger_record_many([LedgerRow(owner.principal.tenant_id, "run", 1, "p:m", tokens, 0, kind=kind)])
    assert LedgerEntry.objects.get().input_tokens == (2 if replaced else 1)


async def test_output_without_a_bound_is_reserved_and_sent_where_a_budget_counts(
    relay: RelayClient, owner: Caller, upstream: Upstream, settings: Any
) -> None:
    await relay.chat("hello")
    assert "max_tokens" not in upstream.requests()[-1]
    settings.GATEWAY_BUDGET_OUTPUT_TOKENS = 300
    BUDGETS.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=10_000)])
    await relay.chat("hello")
    assert upstream.requests()[-1]["max_tokens"] == 300
    await relay.post("/v1/responses", {"model": "hello", "input": "Hi"})
    assert upstream.requests()[-1]["max_tokens"] == 300
    await relay.post("/v1/messages", {"model": "hello", "messages": [{"role": "user", "content": "Hi"}]})
    assert upstream.requests()[-1]["max_tokens"] == 300
    await relay.chat("hello", max_completion_tokens=5)
    assert "max_tokens" not in upstream.requests()[-1]


@pytest.mark.parametrize(
    ("fields", "reserved"),
    [
        ({"max_completion_tokens": 1, "max_tokens": 100_000}, 100_000),
        ({"max_tokens": 1, "max_completion_tokens": 70_000}, 70_000),
        ({"max_tokens": 500, "n": 8}, 4000),
        ({"max_tokens": 10**30}, MAX_TOKENS),
    ],
)
async def test_what_is_reserved_is_the_most_that_the_provider_may_produce(
    relay: RelayClient, owner: Caller, fields: dict[str, int], reserved: int
) -> None:
    BUDGETS.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=10**10)])
    body: dict[str, Any] = {"model": "scripted:slow:5", "messages": [], "stream": True, **fields}
    async with relay.open_request("/v1/chat/completions", body) as heard:
        await heard.until(lambda: heard.chunks)
        (window,) = BUDGETS._windows.values()
        assert reserved <= window.reserved.tokens <= reserved + 100
    await eventually(lambda: METER.gathered == 0 and not window.reserved)


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["", "m", "p:m", "q:m%", "nobody"])
@pytest.mark.parametrize("of_key", [False, True])
def test_a_month_is_whole_days_from_the_sums_and_rows_of_today(owner: Caller, model: str, of_key: bool) -> None:
    principal, start = owner.principal, datetime(2026, 3, 1, tzinfo=UTC)
    now = start + timedelta(days=9, hours=15)
    rows = [
        LedgerRow(
            principal.tenant_id, f"run-{number}", 1, name, number, 1, cost_usd=Decimal(number) / 7,
            api_key_id=principal.key_id if number % 3 else None, created_at=start + timedelta(hours=5 * number),
        )
        for number in range(60)
        for name in (("p:m", "q:m%", "q:mx")[number % 3],)
    ]  # fmt: skip
    ledger_record_many(rows)
    key_id = principal.key_id if of_key else None
    before = spend_between(principal.tenant_id, key_id, model, start, now)
    named = [row for row in rows if not model or row.model == model or row.model.endswith(f":{model}")]
    mine = [row for row in named if row.created_at < now and (key_id is None or row.api_key_id == key_id)]
    assert before.tokens == sum(row.input_tokens + row.output_tokens for row in mine)
    assert usage_fold(limit=40) == 40
    assert spend_between(principal.tenant_id, key_id, model, start, now) == before
    # Folded rows of whole days are not read one by one: what they say no longer matters.
    LedgerEntry.objects.filter(folded=True).update(input_tokens=10**6)
    whole = spend_between(principal.tenant_id, key_id, model, start, start + timedelta(days=5))
    assert whole.tokens == sum(
        row.input_tokens + row.output_tokens for row in mine if row.created_at < start + timedelta(days=5)
    )
