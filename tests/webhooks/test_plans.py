"""Lists of deliveries by their state are read in the order of an index: the dead are few among many."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from core_app import clock
from events_app.models import WebhookDelivery, WebhookEndpoint
from events_app.webhooks.models import DeliveryState
from events_app.webhooks.selectors import deliveries_page
from events_app.webhooks.services import webhook_create
from tests.conftest import Caller

pytestmark = pytest.mark.django_db

DELIVERIES = 3000
"""PostgreSQL plans by the tables' sizes."""


@pytest.fixture
def endpoint(owner: Caller) -> WebhookEndpoint:
    """A webhook with many deliveries, of which few are dead, and another webhook with as many."""
    one, other = (
        webhook_create(principal=owner.principal, url="https://hooks.example.com/", events=["ask_user"]).endpoint
        for _ in range(2)
    )
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            id=f"msg_{number:05}",
            endpoint=(one, other)[number % 2],
            type="ask_user",
            state=DeliveryState.DELIVERED if number % 100 > 1 else DeliveryState.DEAD,
            settled_at=clock.now(),
        )
        for number in range(DELIVERIES)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return one


def capture_query(monkeypatch: pytest.MonkeyPatch, endpoint: WebhookEndpoint, **page: Any) -> QuerySet[Any]:
    """Returns the query behind the list of a webhook's deliveries."""
    found: list[QuerySet[Any]] = []
    evaluate = QuerySet._fetch_all

    def record_query(rows: QuerySet[Any]) -> None:
        found.append(rows.all())
        evaluate(rows)

    monkeypatch.setattr(QuerySet, "_fetch_all", record_query)
    deliveries_page(endpoint, limit=50, **page)
    monkeypatch.undo()
    return found[-1]


@pytest.mark.parametrize("before", [None, "msg_01500"])
def test_a_webhooks_dead_deliveries_are_found_by_their_index(
    monkeypatch: pytest.MonkeyPatch, endpoint: WebhookEndpoint, before: str | None
) -> None:
    plan = capture_query(monkeypatch, endpoint, before=before, state="dead").explain()
    assert "webhook_delivery_by_state" in plan
    assert "TEMP B-TREE" not in plan


def test_everybodys_dead_deliveries_are_found_by_their_index(endpoint: WebhookEndpoint) -> None:
    plan = WebhookDelivery.objects.filter(state="dead").order_by("-id")[:50].explain()
    assert "webhook_state_newest" in plan
    assert "TEMP B-TREE" not in plan
