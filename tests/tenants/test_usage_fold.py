"""Tests of folding: reports equal sums of the plain ledger, whatever was folded or removed before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from itertools import combinations
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenants_app.models import ApiKey, LedgerEntry, Tenant, UsageDay, UsageRun
from tenants_app.selectors import UsageRow, usage_rows
from tenants_app.selectors.ledger import GROUPS, LedgerTotals
from tenants_app.selectors.usage import NO_KEY, DailyUsage, usage_daily
from tenants_app.services import usage as folding
from tenants_app.services.usage import ledger_remove, usage_fold, usage_unfold
from tests.conftest import caller

pytestmark = pytest.mark.django_db

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
GROUPINGS = [names for size in range(len(GROUPS) + 1) for names in combinations(GROUPS, size)]


@dataclass(frozen=True)
class People:
    """Two tenants; keys of the first, two of them with the same name."""

    tenant: Tenant
    other: Tenant
    keys: Sequence[ApiKey]


@pytest.fixture
def people(tenant: Tenant, other_tenant: Tenant) -> People:
    for name in ("one", "twin", "twin"):
        caller(tenant, ())
        ApiKey.objects.filter(name="test key").update(name=name)
    return People(tenant, other_tenant, list(ApiKey.objects.filter(tenant=tenant).order_by("pk")))


def row_make(people: People, run: int, number: int, **given: Any) -> LedgerEntry:
    """A ledger row; `hours` after FIRST, `key` an index or None."""
    of_other = given.pop("of_other", False)
    key = given.pop("key", None)
    return LedgerEntry.objects.create(
        tenant=people.other if of_other else people.tenant,
        api_key=None if key is None or of_other else people.keys[key],
        run_id=f"run_{'o' if of_other else ''}{run}",
        response_no=number,
        created_at=FIRST + timedelta(hours=given.pop("hours", 0)),
        **{"model": "m", "input_tokens": 1, **given},
    )


def fold_all() -> None:
    while usage_fold():
        pass


def plain(people: People, groups: Sequence[str], entries: Sequence[LedgerEntry]) -> dict[tuple[Any, ...], Any]:
    """Sums plain ledger rows by the groups, without folded days."""
    names = {key.pk: key.name for key in people.keys}
    lines: dict[tuple[Any, ...], list[LedgerEntry]] = {} if groups else {(): []}
    for entry in entries:
        values = {
            "day": entry.created_at.astimezone(UTC).date().isoformat(),
            "key": names.get(entry.api_key_id or 0),
            "model": entry.model,
        }
        lines.setdefault(tuple(values[name] for name in groups), []).append(entry)
    return {line: totals(of_line) for line, of_line in lines.items()}


def totals(entries: Sequence[LedgerEntry]) -> LedgerTotals:
    return LedgerTotals(
        responses=len(entries),
        runs=len({entry.run_id for entry in entries}),
        **{name: sum(getattr(entry, name) for entry in entries) for name in TOKENS},
        cost_usd=sum((entry.cost_usd or Decimal(0) for entry in entries), Decimal(0)),
        cost_known=all(entry.cost_usd is not None for entry in entries),
    )


def lines_of(rows: Sequence[UsageRow], groups: Sequence[str]) -> dict[tuple[Any, ...], LedgerTotals]:
    lines = {tuple(getattr(row, name) for name in groups): row.totals for row in rows}
    assert len(lines) == len(rows)
    return lines


def check(people: People, since: datetime | None, until: datetime | None) -> None:
    """Every report of the time is what the plain ledger says."""
    for tenant in (people.tenant, people.other):
        entries = [
            entry
            for entry in LedgerEntry.objects.filter(tenant=tenant)
            if (since is None or entry.created_at >= since) and (until is None or entry.created_at < until)
        ]
        asked: dict[str, Any] = {"tenant_id": tenant.pk, "since": since, "until": until}
        for groups in GROUPINGS:
            assert lines_of(usage_rows(**asked, group_by=groups), groups) == plain(people, groups, entries)
            own = [entry for entry in entries if entry.end_user == "ann"]
            assert lines_of(usage_rows(**asked, group_by=groups, end_user="ann"), groups) == plain(people, groups, own)
    assert_daily(people)


def assert_daily(people: People) -> None:
    first, last = FIRST.date(), FIRST.date() + timedelta(days=2)
    for tenant in (people.tenant, None):
        entries = LedgerEntry.objects.filter(created_at__gte=FIRST, created_at__lt=FIRST + timedelta(days=3))
        entries = entries if tenant is None else entries.filter(tenant=tenant)
        for by, name in (("model", "model"), ("tenant", "tenant_id"), ("key", "api_key_id")):
            found = usage_daily(tenant_id=tenant and tenant.pk, since=first, until=last, by=by)  # type: ignore[arg-type]
            told = sorted((day.day, day.responses, day.input_tokens, day.cost_usd) for day in found)
            plain_days: dict[tuple[date, Any], list[LedgerEntry]] = {}
            for entry in entries:
                plain_days.setdefault((entry.created_at.date(), getattr(entry, name)), []).append(entry)
            assert told == sorted(
                (day, len(rows), sum(row.input_tokens for row in rows), totals(rows).cost_usd)
                for (day, _), rows in plain_days.items()
            )


ROWS = st.fixed_dictionaries(
    {
        "run": st.integers(0, 1),
        "hours": st.sampled_from([0, 1, 23, 24, 30, 47, 48, 71]),
        "key": st.sampled_from([None, 0, 1, 2]),
        "model": st.sampled_from(["m", "n"]),
        "end_user": st.sampled_from([None, "ann", "bob"]),
        "input_tokens": st.integers(0, 9),
        "cost_usd": st.sampled_from([None, Decimal("0.1"), Decimal("0.0000000001"), Decimal("12.3456789")]),
        "of_other": st.sampled_from([False, False, True]),
    }
)
VALUES = {
    "spend": ROWS,
    "fold": st.integers(1, 9),
    "remove": st.sampled_from([1, 24, 30, 48]),
    "unfold": st.none(),
}
KINDS = st.sampled_from(["spend"] * 5 + ["fold"] * 3 + ["remove", "unfold"])
STEPS = KINDS.flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind]))
MOMENTS = st.one_of(
    st.none(), st.sampled_from([0, 12, 24, 25, 48, 72]).map(lambda hours: FIRST + timedelta(hours=hours))
)


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def step_take(people: People, number: int, kind: str, value: Any) -> None:
    if kind == "spend":
        row_make(people, number=number, **value)
    elif kind == "fold":
        usage_fold(limit=value)
    elif kind == "remove":
        ledger_remove(tenant_id=people.tenant.pk, before=FIRST + timedelta(hours=value))
    else:
        usage_unfold(tenant_id=people.tenant.pk)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=3, max_size=14), since=MOMENTS, until=MOMENTS)
def test_every_report_is_what_the_plain_ledger_says(
    people: People, steps: list[tuple[str, Any]], since: datetime | None, until: datetime | None
) -> None:
    with undone():
        for number, (kind, value) in enumerate(steps):
            step_take(people, number, kind, value)
        check(people, since, until)
        fold_all()
        check(people, since, until)
        for tenant in (people.tenant, people.other):
            ledger_remove(tenant_id=tenant.pk, before=FIRST + timedelta(days=9))
        assert (UsageDay.objects.count(), UsageRun.objects.count()) == (0, 0)


def test_a_run_is_counted_once_over_days_keys_and_models(people: People) -> None:
    for number, (hours, model) in enumerate([(0, "m"), (1, "n"), (25, "m"), (26, "m")]):
        row_make(people, 1, number, hours=hours, model=model)
        fold_all()
        check(people, None, None)
    assert UsageRun.objects.count() == 3
    [total] = usage_rows(tenant_id=people.tenant.pk, group_by=[])
    assert total.totals.runs == 1


def test_a_row_that_comes_late_for_its_day_is_counted(people: People) -> None:
    row_make(people, 1, 1, hours=0)
    row_make(people, 2, 1, hours=50)
    fold_all()
    row_make(people, 3, 1, hours=2)
    for _ in range(2):
        check(people, FIRST, FIRST + timedelta(days=1))
        [day] = usage_rows(tenant_id=people.tenant.pk, until=FIRST + timedelta(days=1), group_by=["day"])
        assert day.totals.responses == 2
        fold_all()


def test_a_fold_that_is_cut_off_leaves_nothing_behind(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in range(4):
        row_make(people, run, 1, hours=run * 12)
    usage_fold(limit=2)
    for cut in ("_amounts_add", "_runs_name", "_runs_forget"):
        monkeypatch.setattr(folding, cut, raise_killed)
        with pytest.raises(RuntimeError):
            usage_fold()
        monkeypatch.undo()
        assert LedgerEntry.objects.filter(folded=True).count() == 2
        check(people, None, None)
    fold_all()
    check(people, None, None)
    assert sum(UsageDay.objects.values_list("responses", flat=True)) == 4


def raise_killed(*args: object) -> None:
    raise RuntimeError("killed")


def test_reports_of_whole_days_read_no_folded_ledger_row(people: People) -> None:
    row_make(people, 1, 1)
    fold_all()
    LedgerEntry.objects.all().delete()
    [line] = usage_rows(tenant_id=people.tenant.pk, since=FIRST)
    assert line.totals.responses == 1
    [day] = usage_daily(tenant_id=None, since=FIRST.date(), until=FIRST.date(), by="key")
    assert isinstance(day, DailyUsage)
    assert (day.name, day.responses) == (NO_KEY, 1)


def test_what_is_not_folded_is_found_by_its_index(people: People) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL plans by the tables' sizes")
    row_make(people, 1, 1)
    with connection.cursor() as cursor:
        asked = folding_queries(people)
        plans = []
        for sql, values in asked:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", values)
            plans.append(" | ".join(str(row[-1]) for row in cursor.fetchall()))
    whole, own = plans
    assert whole.count("USING INDEX ledger_unfolded") == 2
    assert "SCAN l" not in whole
    assert "USING INDEX ledger_by_end_user" in own


def folding_queries(people: People) -> list[tuple[str, list[Any]]]:
    from tenants_app.selectors.usage_union import UsageFilter, usage_union

    found = []
    for asked in (UsageFilter(people.tenant.pk), UsageFilter(people.tenant.pk, end_user="ann")):
        named, values = usage_union(asked, runs=True)
        found.append((f"{named} SELECT * FROM p", values))
    return found


def test_the_command_folds_and_makes_spoiled_sums_anew(people: People) -> None:
    for number in range(3):
        row_make(people, 1, number, hours=number * 20)
    row_make(people, 2, 1, of_other=True)
    output = StringIO()
    call_command("usage", "fold", stdout=output)
    assert output.getvalue() == "Folded 4 ledger rows.\n"
    UsageDay.objects.update(responses=7, runs=9)
    UsageRun.objects.all().delete()
    UsageDay.objects.create(tenant=people.tenant, day=date(2020, 1, 1), model="never", responses=5)
    output = StringIO()
    call_command("usage", "rebuild", tenant="acme", stdout=output)
    assert output.getvalue() == "Folded 3 ledger rows.\n"
    call_command("usage", "rebuild", stdout=StringIO())
    check(people, None, None)
    with pytest.raises(CommandError, match="There is no tenant 'nobody'"):
        call_command("usage", "rebuild", tenant="nobody")


def test_a_run_that_goes_on_after_it_was_folded_is_one_run(people: People) -> None:
    row_make(people, 1, 1)
    fold_all()
    row_make(people, 1, 2)
    check(people, None, None)
    row_make(people, 1, 3, hours=30)
    check(people, None, None)


def test_a_run_whose_first_day_is_removed_is_counted_on_its_second(people: People) -> None:
    for run, number, hours in ((1, 1, 0), (2, 1, 2), (1, 2, 30)):
        row_make(people, run, number, hours=hours)
    fold_all()
    assert ledger_remove(tenant_id=people.tenant.pk, before=FIRST + timedelta(hours=1)) == 1
    check(people, None, None)
    assert not UsageRun.objects.exists()
