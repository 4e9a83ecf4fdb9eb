"""What calls used, on its way to the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tenants_app.models import LedgerEntry, Tenant
from tenants_app.services import LedgerRow, ledger_record, ledger_record_many
from tests.conftest import Caller


def stored(**conditions: Any) -> list[dict[str, Any]]:
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
    keyless, many, one = stored(tenant=tenant)
    assert {**many, "id": 0, "run_id": ""} == {**one, "id": 0, "run_id": ""}
    assert keyless["api_key_id"] is None


@pytest.mark.django_db
def test_a_row_without_price_or_key_is_stored_so(tenant: Tenant) -> None:
    ledger_record_many([LedgerRow(tenant.id, "run", 1, "p:m", 1, 2)])
    (entry,) = stored(tenant=tenant)
    assert (entry["cost_usd"], entry["api_key_id"], entry["end_user"]) == (None, None, None)
