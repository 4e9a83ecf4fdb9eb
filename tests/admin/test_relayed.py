"""Tests of the page of relayed requests: counts, errors, latency and cost by provider, model and tenant."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client

from inference_app.catalogue.reported import ReportedModels
from inference_app.catalogue.resolution import Candidate
from inference_app.spend.daily_stats import Counts, counts_write, relayed_daily
from tests.admin.conftest import XSS
from tests.conftest import Caller
from tests.fixed_clock import NOON, clock_fixed

pytestmark = pytest.mark.django_db

PAGE = "/admin/relayed/"
TODAY = NOON.date()


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_fixed(monkeypatch)


@pytest.fixture(autouse=True)
def _every_model_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReportedModels, "model", lambda self, config, candidate: candidate.model)


def relayed(
    caller: Caller, provider: str, model: str, *, ok: int = 0, failed: int = 0, days_ago: int = 0, usd: str = "0"
) -> None:
    counts, candidate, day = Counts(), Candidate(provider, model), TODAY - timedelta(days=days_ago)
    tenant_id = caller.principal.tenant_id
    for _ in range(ok):
        counts.record_call(tenant_id, day, candidate, "ok", 200.0, 50.0)
    for _ in range(failed):
        counts.record_failed_attempt(tenant_id, day, candidate)
        counts.record_call(tenant_id, day, candidate, "failed", 900.0, None)
    counts.add_cost(tenant_id, day, candidate, Decimal(usd))
    counts_write(counts)


def test_rows_add_up_however_often_they_are_written(owner: Caller) -> None:
    for _ in range(3):
        relayed(owner, "openai", "m", ok=2, failed=1, usd="0.25")
    ((name, days),) = relayed_daily(by="model", since=TODAY, until=TODAY, tenant_id=None).items()
    sums = days[TODAY]
    assert (name, sums.requests, sums.answered, sums.errors, sums.failed_attempts) == ("m", 9, 6, 3, 3)
    assert (sums.latency_ms, sums.first_byte, sums.error_percent) == (200.0, 50.0, "33.3 %")
    assert sums.cost_shown == "$0.75"


def test_the_page_has_a_chart_for_each_and_a_line_for_each(root: Client, owner: Caller, stranger: Caller) -> None:
    relayed(owner, "openai", "here", ok=4, failed=1, usd="1.5")
    relayed(stranger, "anthropic", "there", ok=1, days_ago=1)
    for by, names in (
        ("provider", ("openai", "anthropic")),
        ("model", ("here", "there")),
        ("tenant", ("acme", "rival")),
    ):
        text = root.get(PAGE, {"by": by}).content.decode()
        for title in ("Requests", "Errors", "Latency", "Cost"):
            assert f"<figcaption>{title} <strong>" in text
        for name in names:
            assert f'<th scope="row">{name}</th>' in text
        assert "<figcaption>Requests <strong>6</strong>" in text
        assert "<figcaption>Errors <strong>1</strong>" in text
        assert "<figcaption>Latency <strong>200 ms</strong>" in text
        assert "<figcaption>Cost <strong>$1.50</strong>" in text
        assert "20.0 %" in text
    of_one = root.get(PAGE, {"by": "model", "tenant": str(owner.principal.tenant_id)}).content.decode()
    assert '<th scope="row">there</th>' not in of_one
    yesterday = (TODAY - timedelta(days=1)).isoformat()
    assert '<th scope="row">here</th>' not in root.get(PAGE, {"by": "model", "end": yesterday}).content.decode()


def test_a_tenants_person_sees_nothing_of_others(person: Client, owner: Caller, stranger: Caller) -> None:
    relayed(owner, "openai", "here", ok=1)
    relayed(stranger, "openai", "there", ok=1)
    for query in ({"by": "model"}, {"by": "model", "tenant": str(stranger.principal.tenant_id)}, {"by": "tenant"}):
        text = person.get(PAGE, query).content.decode()
        assert "there" not in text
        assert "rival" not in text
    assert "here" in person.get(PAGE, {"by": "model"}).content.decode()


def test_who_may_not_see_it_is_refused_and_who_may_finds_it(client: Client, root: Client) -> None:
    assert client.get(PAGE).status_code == 302
    assert PAGE in root.get("/admin/").content.decode()
    assert "Nothing was relayed" in root.get(PAGE).content.decode()


def test_a_name_that_a_client_chose_is_only_text(root: Client, owner: Caller) -> None:
    relayed(owner, "openai", XSS, ok=1)
    assert XSS not in root.get(PAGE, {"by": "model"}).content.decode()
