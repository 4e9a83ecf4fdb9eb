"""Tests of folding beside concurrent transactions, on PostgreSQL, because SQLite has one writer at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from django.db import connection, transaction

from tenants_app.models import LedgerEntry, UsageDay
from tenants_app.selectors import usage_rows
from tenants_app.services import usage as folding
from tenants_app.services.usage import ledger_remove, usage_fold
from tenants_app.services.usage_cells import FoldedUsage
from tests.sessions.interleaving import orders, pause, perform
from tests.tenants.test_usage_fold import FIRST, People, check, fold_all, people, row_make

__all__ = ["people"]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time"),
]


def responses(people: People) -> int:
    [total] = usage_rows(tenant_id=people.tenant.pk, group_by=[])
    return total.totals.responses


def test_a_row_that_commits_after_later_ones_were_folded_is_counted_once(people: People) -> None:
    folded: list[int] = []

    def slow() -> None:
        with transaction.atomic():
            row_make(people, 1, 1)
            pause()

    def fast() -> None:
        row_make(people, 2, 1)

    def fold() -> None:
        folded.append(usage_fold())

    perform(["slow", "fast", "fold"], {"slow": slow, "fast": fast, "fold": fold})
    first, second = LedgerEntry.objects.order_by("pk")
    assert (first.run_id, first.folded, second.folded) == ("run_1", False, True)
    assert folded == [1]
    assert responses(people) == 2
    assert usage_fold() == 1
    assert responses(people) == 2
    check(people, None, None)


def ledger_removal(people: People) -> Callable[[], object]:
    return lambda: ledger_remove(tenant_id=people.tenant.pk, before=FIRST + timedelta(hours=30))


@pytest.mark.parametrize("order", list(orders({"one": 3, "two": 3})), ids="-".join)
@pytest.mark.parametrize("second", ["fold", "remove"])
def test_two_that_fold_or_remove_rows_of_one_run_agree(
    people: People, order: Sequence[str], second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, hours in enumerate((0, 1, 25, 50)):
        row_make(people, 1, number, hours=hours)
    usage_fold(limit=2)
    alone, move = folding._lock_folding, folding._update_days

    def alone_paused() -> None:
        pause()
        alone()

    def move_paused(before: FoldedUsage, after: FoldedUsage) -> None:
        pause()
        move(before, after)

    monkeypatch.setattr(folding, "_lock_folding", alone_paused)
    monkeypatch.setattr(folding, "_update_days", move_paused)
    perform(order, {"one": usage_fold, "two": usage_fold if second == "fold" else ledger_removal(people)})
    check(people, None, None)
    fold_all()
    check(people, None, None)
    ledger_remove(tenant_id=people.tenant.pk, before=FIRST + timedelta(days=9))
    assert UsageDay.objects.count() == 0


def test_folding_waits_for_no_row_that_another_holds(people: People) -> None:
    row_make(people, 1, 1)
    row_make(people, 2, 1)
    folded: list[int] = []

    def erase() -> None:
        with transaction.atomic():
            LedgerEntry.objects.filter(run_id="run_1").update(end_user=None)
            pause()

    perform(["erase", "fold"], {"erase": erase, "fold": lambda: folded.append(usage_fold())})
    assert folded == [1]
    check(people, None, None)
