"""Metering: from the usage of calls to rows in the ledger and counts per day."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from core_app import database
from inference_app.models import RelayedDay
from inference_app.spend import batch_write, metering
from inference_app.spend.metering import METER
from tenants_app.models import LedgerEntry, Tenant
from tenants_app.services import LedgerRow, ledger_record, ledger_record_many
from tests.conftest import Caller
from tests.faces.inference.conftest import RelayClient


def ledger_entries(**conditions: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in LedgerEntry.objects.filter(**conditions).order_by("run_id").values()]


@pytest.mark.django_db
def test_many_rows_are_stored_as_one_is_and_once(tenant: Tenant, owner: Caller) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    spend: dict[str, Any] = {
        "tenant_id": tenant.id,
        "response_no": 1,
        "model": "p:m\x00",
        "input_tokens": 2**40,
        "output_tokens": 7,
        "cached_tokens": 3,
        "reasoning_tokens": 2,
        "cost_usd": Decimal("0.0000000123"),
        "api_key_id": owner.principal.key_id,
        "kind": "inference",
    }
    ledger_record(run_id="one", **spend)
    LedgerEntry.objects.update(created_at=moment)
    rows = [LedgerRow(run_id=name, created_at=moment, **spend) for name in ("many", "many", "one")]
    ledger_record_many([*rows, LedgerRow(run_id="keyless", created_at=moment, **{**spend, "api_key_id": 10**9})])
    keyless, many, one = ledger_entries(tenant=tenant)
    assert {**many, "id": 0, "run_id": ""} == {**one, "id": 0, "run_id": ""}
    assert keyless["api_key_id"] is None


@pytest.mark.django_db
def test_a_row_without_price_or_key_is_stored_so(tenant: Tenant) -> None:
    ledger_record_many([LedgerRow(tenant.id, "run", 1, "p:m", 1, 2)])
    (entry,) = ledger_entries(tenant=tenant)
    assert (entry["cost_usd"], entry["api_key_id"], entry["end_user"]) == (None, None, None)


async def relayed_days() -> list[tuple[str, str, int, int, int, int, int]]:
    """Writes the calls that are still gathered and returns the counts of all days."""
    await METER.flush()
    names = ("provider", "model", "requests", "answered", "errors", "refused", "failed_attempts")
    return await database.run(lambda: list(RelayedDay.objects.order_by("model", "provider").values_list(*names)))


async def test_every_call_is_counted_in_its_day_whatever_became_of_it(relay: RelayClient) -> None:
    for model in ("hello", "hello", "resilient", "scripted:status:400", "scripted:drop:1"):
        await relay.chat(model, stream=model.endswith("drop:1"))
    assert await relayed_days() == [
        ("scripted", "hello", 2, 2, 0, 0, 0),
        ("second", "hello", 1, 1, 0, 0, 0),
        # `drop:1` and `status:400`, which clients may name and the configuration does not.
        ("scripted", "other", 2, 0, 1, 1, 1),
        ("scripted", "status:500", 0, 0, 0, 0, 2),
    ]
    cost = await database.run(lambda: RelayedDay.objects.get(provider="scripted", model="hello").cost_nanos)
    assert cost == 2 * 22 * 10**9


async def test_what_could_not_be_written_is_counted_once_when_it_can(
    relay: RelayClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await relay.chat("hello")
    with monkeypatch.context() as broken:
        broken.setattr(batch_write, "ledger_record_many", raise_error)
        with pytest.raises(OSError, match="away"):
            await METER.flush()
    assert await relayed_days() == [("scripted", "hello", 1, 1, 0, 0, 0)]
    cost = await database.run(lambda: RelayedDay.objects.get().cost_nanos)
    assert cost == 22 * 10**9


async def test_a_process_that_relays_nothing_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "FLUSH_SECONDS", 0.0)
    meter, flushed = metering.Meter(), asyncio.Event()

    async def flush() -> None:
        flushed.set()

    monkeypatch.setattr(meter, "flush", flush)
    await meter.start()
    try:
        for _ in range(50):
            await asyncio.sleep(0)
        assert not flushed.is_set()
        meter._some.set()
        await asyncio.wait_for(flushed.wait(), 5)
    finally:
        await meter.stop()


def raise_error(rows: object) -> None:
    raise OSError("the database is away")
