"""Tests of the usage page: days, charts and totals, for one tenant or all."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import Client

from admin_app.charts import MAX_SERIES, stacked_chart
from core_app import clock
from tenants_app.models import ApiKey, LedgerEntry, Tenant
from tenants_app.numbers import compact, dollars
from tenants_app.selectors.usage import usage_daily
from tests.admin.conftest import XSS
from tests.conftest import Caller
from tests.fixed_clock import NOON, clock_fixed

pytestmark = pytest.mark.django_db

PAGE = "/admin/usage/"
TODAY = NOON.date()


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_fixed(monkeypatch)


def spent(caller: Caller, model: str, *, days_ago: int = 0, tokens: int = 100, cost: str | None = "0.5") -> None:
    moment = clock.now() - timedelta(days=days_ago)
    LedgerEntry.objects.create(
        tenant_id=caller.principal.tenant_id,
        api_key_id=caller.principal.key_id,
        run_id=f"run_{LedgerEntry.objects.count()}",
        response_no=1,
        model=model,
        input_tokens=tokens,
        output_tokens=10,
        cost_usd=None if cost is None else Decimal(cost),
        created_at=moment,
    )


def test_days_are_cut_at_midnight_utc_and_both_ends_count(owner: Caller) -> None:
    for at in ("2026-01-01T23:59:59.999999+00:00", "2026-01-02T00:00:00+00:00", "2026-01-03T23:59:59+00:00"):
        spent(owner, "m")
        LedgerEntry.objects.filter(run_id=f"run_{LedgerEntry.objects.count() - 1}").update(
            created_at=datetime.fromisoformat(at)
        )
    rows = usage_daily(tenant_id=owner.principal.tenant_id, since=date(2026, 1, 2), until=date(2026, 1, 3), by="model")
    assert [(row.day, row.responses) for row in rows] == [(date(2026, 1, 2), 1), (date(2026, 1, 3), 1)]


def test_a_superuser_sees_all_tenants_or_one(root: Client, owner: Caller, stranger: Caller) -> None:
    spent(owner, "openai:here")
    spent(stranger, "openai:there")
    text = root.get(PAGE).content.decode()
    assert "openai:here" in text
    assert "openai:there" in text
    text = root.get(PAGE, {"tenant": stranger.principal.tenant_id}).content.decode()
    assert "openai:here" not in text
    assert "openai:there" in text
    text = root.get(PAGE, {"by": "tenant"}).content.decode()
    assert '<th scope="row">acme</th>' in text
    assert '<th scope="row">rival</th>' in text


def test_a_tenants_person_sees_nothing_of_others(person: Client, owner: Caller, stranger: Caller) -> None:
    spent(owner, "openai:here")
    spent(stranger, "openai:there")
    other = str(stranger.principal.tenant_id)
    queries: list[dict[str, str]] = [{}, {"tenant": other}, {"by": "key"}, {"by": "tenant"}]
    for query in queries:
        text = person.get(PAGE, query).content.decode()
        assert "there" not in text
        assert "rival" not in text
    assert person.get(PAGE, {"key": str(stranger.principal.key_id)}).status_code == 404


def test_one_key_can_be_looked_at(root: Client, owner: Caller, stranger: Caller) -> None:
    spent(owner, "openai:here")
    spent(stranger, "openai:there")
    key = ApiKey.objects.get(tenant__slug="acme")
    assert str(key) in root.get(PAGE, {"key": str(key.pk), "by": "key"}).content.decode()
    text = root.get(PAGE, {"key": key.pk}).content.decode()
    assert "openai:here" in text
    assert "openai:there" not in text


def test_only_the_days_that_were_asked_for_count(root: Client, owner: Caller) -> None:
    spent(owner, "openai:old", days_ago=20)
    spent(owner, "openai:new")
    assert "openai:old" not in root.get(PAGE).content.decode()
    long = {"start": (TODAY - timedelta(days=30)).isoformat(), "end": TODAY.isoformat()}
    assert "openai:old" in root.get(PAGE, long).content.decode()
    early = {"end": (TODAY - timedelta(days=15)).isoformat()}
    text = root.get(PAGE, early).content.decode()
    assert "openai:old" in text
    assert "openai:new" not in text


@pytest.mark.parametrize(
    "query",
    [
        {"start": "2026-02-02", "end": "2026-01-01"},
        {"start": "2001-01-01"},
        {"start": "tomorrow"},
        {"end": "0001-01-01"},
        {"end": "9999-12-31"},
        {"by": "colour"},
        {"tenant": "99"},
        {"tenant": "x"},
        {"key": "x"},
    ],
)
def test_a_bad_question_is_answered_with_what_is_wrong(root: Client, tenant: Tenant, query: dict[str, str]) -> None:
    answer = root.get(PAGE, query)
    assert answer.status_code == 200
    assert "errornote" in answer.content.decode() or "Nothing was used" in answer.content.decode()


def test_a_missing_price_is_said(root: Client, owner: Caller) -> None:
    spent(owner, "openai:free", cost=None)
    assert "$0.00 + ?" in root.get(PAGE).content.decode()


def test_a_models_name_is_text_in_charts_too(root: Client, owner: Caller) -> None:
    spent(owner, XSS)
    text = root.get(PAGE).content.decode()
    assert XSS not in text
    assert re.search(r"<title>[^<]*&lt;script&gt;", text)


def test_a_bar_is_as_high_as_what_it_stands_for() -> None:
    days = [TODAY - timedelta(days=1), TODAY]
    values = {"a": {days[0]: 30.0, days[1]: 10.0}, "b": {days[1]: 10.0}}
    chart = stacked_chart("Tokens", days, values, compact, ["a", "b"])
    tall, low, above = (float(bar.height) for bar in chart.bars)
    assert tall == pytest.approx(3 * low, abs=0.2)
    assert low == pytest.approx(above, abs=0.2)
    assert float(chart.bars[2].y) + above == pytest.approx(float(chart.bars[1].y), abs=0.2)
    assert chart.total == "50"
    assert chart.scale[0].label == "0"


def test_what_has_no_colour_of_its_own_is_added_up() -> None:
    values = {f"model {number}": {TODAY: 1.0} for number in range(20)}
    chart = stacked_chart("Tokens", [TODAY], values, compact, sorted(values))
    assert len(chart.legend) == MAX_SERIES
    assert chart.legend[-1][1] == f"{20 - MAX_SERIES + 1} others"
    assert chart.total == "20"


@pytest.mark.parametrize("highest", [0.0, 1e-7, 0.004, 0.99, 1.0, 3.0, 999.0, 1000.0, 123_456_789.0])
def test_the_scale_ends_above_the_highest_bar(highest: float) -> None:
    chart = stacked_chart("Tokens", [TODAY], {"a": {TODAY: highest}}, str, ["a"])
    assert float(chart.scale[-1].label) >= highest * (1 - 1e-9)
    assert 2 <= len(chart.scale) <= 6


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "$0.00"), (12, "$12.00"), (1234.5, "$1,234.50"), (0.000123, "$0.000123"), (0.0000000001, "$0")],
)
def test_money_keeps_the_digits_that_say_something(amount: float, shown: str) -> None:
    assert dollars(amount) == shown


@pytest.mark.parametrize(
    ("amount", "shown"), [(0, "0"), (950, "950"), (1200, "1.2k"), (34e6, "34M"), (2e9, "2G"), (0.5, "0.5")]
)
def test_counts_are_short(amount: float, shown: str) -> None:
    assert compact(amount) == shown
