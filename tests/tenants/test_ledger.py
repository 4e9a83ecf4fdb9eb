"""Tests of the ledger and the audit trail: entries count once, are read per tenant, and never change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from core_app import clock
from core_app.errors import BadRequest
from tenants_app.models import AuditEntry, LedgerEntry, Tenant
from tenants_app.selectors import ledger_by_model, ledger_totals, usage_rows
from tenants_app.services import LedgerRow, audit_record, ledger, ledger_record, ledger_record_many
from tests.conftest import Caller

pytestmark = pytest.mark.django_db


def spend(tenant: Tenant, run: str = "run_1", number: int = 1, **values: Any) -> None:
    usage: dict[str, Any] = {"model": "demo:tour", "input_tokens": 10, "output_tokens": 5, "cost_usd": Decimal("0.25")}
    ledger_record(tenant_id=tenant.id, run_id=run, response_no=number, **{**usage, **values})


def test_a_response_recorded_twice_is_counted_once(tenant: Tenant) -> None:
    spend(tenant)
    spend(tenant, input_tokens=999)
    totals = ledger_totals(tenant_id=tenant.id)
    assert (totals.responses, totals.input_tokens) == (1, 10)


def test_more_rows_than_a_statement_takes_are_all_recorded(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_AT_ONCE", 2)
    rows = [LedgerRow(tenant.id, f"run_{number}", 1, "demo:tour", number, 1) for number in range(5)]
    ledger_record_many([*rows, rows[0]])
    totals = ledger_totals(tenant_id=tenant.id)
    assert (totals.responses, totals.input_tokens) == (5, 10)


def test_totals_are_of_a_session_a_run_or_the_tenant(tenant: Tenant, other_tenant: Tenant) -> None:
    spend(tenant, "run_1", 1, session_ref="a", cached_tokens=3, reasoning_tokens=2)
    spend(tenant, "run_1", 2, session_ref="a")
    spend(tenant, "run_2", 1, session_ref="b")
    spend(other_tenant, "run_3", 1, session_ref="a")
    assert ledger_totals(tenant_id=tenant.id).input_tokens == 30
    assert ledger_totals(tenant_id=tenant.id, run_id="run_2").cost_usd == Decimal("0.25")
    session = ledger_totals(tenant_id=tenant.id, session_ref="a")
    assert (session.responses, session.runs, session.cached_tokens, session.reasoning_tokens) == (2, 1, 3, 2)
    assert ledger_totals(tenant_id=tenant.id, run_id="run_3").responses == 0


def test_a_response_without_a_price_makes_the_cost_unknown(tenant: Tenant) -> None:
    spend(tenant)
    assert ledger_totals(tenant_id=tenant.id).cost_known
    spend(tenant, number=2, cost_usd=None, model="custom")
    totals = ledger_totals(tenant_id=tenant.id)
    assert (totals.cost_usd, totals.cost_known) == (Decimal("0.25"), False)
    assert ledger_by_model(tenant_id=tenant.id)["demo:tour"].cost_known


def test_nothing_spent_is_zero(tenant: Tenant) -> None:
    totals = ledger_totals(tenant_id=tenant.id)
    assert (totals.responses, totals.cost_usd, totals.cost_known) == (0, Decimal(0), True)


def test_usage_is_grouped_by_what_is_asked_for(tenant: Tenant, owner: Caller) -> None:
    spend(tenant, "run_1", model="b", api_key_id=owner.principal.key_id)
    spend(tenant, "run_2", model="a")
    LedgerEntry.objects.filter(run_id="run_2").update(created_at=clock.now() - timedelta(days=1))
    by_day = usage_rows(tenant_id=tenant.id, group_by=["day"])
    assert [row.totals.runs for row in by_day] == [1, 1]
    assert by_day[0].day is not None
    assert by_day[1].day is not None
    assert by_day[0].day > by_day[1].day
    assert {row.model for row in usage_rows(tenant_id=tenant.id, group_by=["model"])} == {"a", "b"}
    assert {row.key for row in usage_rows(tenant_id=tenant.id, group_by=["key"])} == {"test key", None}
    [total] = usage_rows(tenant_id=tenant.id, group_by=[])
    assert (total.day, total.totals.responses) == (None, 2)


def test_usage_is_of_one_tenant_and_one_period(tenant: Tenant, other_tenant: Tenant) -> None:
    spend(tenant, "run_1")
    spend(other_tenant, "run_2")
    LedgerEntry.objects.filter(run_id="run_1").update(created_at=datetime(2026, 5, 1, tzinfo=UTC))
    may, june = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    assert len(usage_rows(tenant_id=tenant.id, since=may, until=june)) == 1
    assert usage_rows(tenant_id=tenant.id, since=june) == []
    assert usage_rows(tenant_id=tenant.id, until=may) == []


def test_an_unknown_group_is_refused(tenant: Tenant) -> None:
    with pytest.raises(BadRequest) as refused:
        usage_rows(tenant_id=tenant.id, group_by=["api_key__secret_hash"])
    assert refused.value.field == "groupBy"


def test_texts_that_no_database_takes_are_cleaned(tenant: Tenant) -> None:
    spend(tenant, model="a\x00b", end_user="\ud800" + "x" * 300)
    entry = LedgerEntry.objects.get()
    assert (entry.model, len(entry.end_user or "")) == ("a\ufffdb", 200)


def test_an_audit_entry_is_never_changed_or_removed(tenant: Tenant) -> None:
    entry = audit_record(actor="x\x00", action="a.b", target="t" * 500, detail={"k": "\ud800"}, tenant_id=tenant.id)
    entry.action = "other"
    with pytest.raises(TypeError):
        entry.save()
    with pytest.raises(TypeError):
        entry.delete()
    stored = AuditEntry.objects.get(id=entry.id)
    assert (stored.actor, stored.action, stored.detail) == ("x\ufffd", "a.b", {"k": "\ufffd"})
