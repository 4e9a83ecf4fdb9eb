"""Deliveries are there exactly when their events are, and go when these do; who has no webhook pays nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from core_app import clock, database
from core_app.database import write_transaction
from events_app import log
from events_app.models import Stream, WebhookDelivery, WebhookEndpoint
from events_app.types import Event
from events_app.webhooks import claims, removal
from events_app.webhooks.models import DeliveryState
from events_app.webhooks.removal import DEAD_KEPT, DELIVERED_KEPT, deliveries_expire
from events_app.webhooks.services import webhook_create, webhook_delete
from gateway_project.process.lifecycle import WEBHOOKS
from sessions_app.events import AgentEnd, PromptReceived, SessionClosed
from sessions_app.services.erasure import end_user_erase
from tenants_app.models import Tenant
from tests.conftest import Caller
from tests.gateway_harness import Client
from tests.webhooks.conftest import hook
from tests.webhooks.receiver import Receiver, answering
from tools_app.events import AskUser

pytestmark = pytest.mark.django_db(transaction=True)

QUESTION = AskUser(ref="q", question="?", options=[], expires_at="2030-01-01T00:00:00.000Z")
END = AgentEnd(last_message={}, token_usage={}, cost_usd=0.0, cost_known=True, duration_ms=1)


def stream_of(tenant: Tenant | None) -> Stream:
    with write_transaction():
        return log.stream_create(kind="session", tenant_id=tenant.pk if tenant else None)


def append(stream: Stream, *events: Event) -> None:
    with write_transaction():
        log.append(stream.pk, events)


def endpoint(owner: Caller, *events: str) -> WebhookEndpoint:
    url, asked = "https://hooks.example.com/", events or ["ask_user"]
    return webhook_create(principal=owner.principal, url=url, events=asked).endpoint


def queries(stream: Stream, *events: Event) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        append(stream, *events)
    return len(captured)


def test_a_tenant_without_a_webhook_pays_no_query(tenant: Tenant, stranger: Caller) -> None:
    endpoint(stranger)
    append(stream_of(tenant), QUESTION)  # the connection is made
    untold = queries(stream_of(tenant), PromptReceived(text="", queued=False))
    assert queries(stream_of(tenant), QUESTION) == untold
    assert queries(stream_of(None), QUESTION, END, SessionClosed()) == untold


def test_an_event_that_is_rolled_back_leaves_no_delivery(tenant: Tenant, owner: Caller) -> None:
    endpoint(owner)
    stream = stream_of(tenant)
    with transaction.atomic():
        log.append(stream.pk, [QUESTION])
        assert WebhookDelivery.objects.count() == 1
        transaction.set_rollback(True)
    assert WebhookDelivery.objects.count() == 0
    append(stream, QUESTION)
    assert WebhookDelivery.objects.get().offset == 1


def test_only_the_first_of_a_line_is_due(tenant: Tenant, owner: Caller) -> None:
    one, other = endpoint(owner, "ask_user", "agent_end"), endpoint(owner, "agent_end")
    stream = stream_of(tenant)
    append(stream, QUESTION, END, PromptReceived(text="", queued=False))
    append(stream, QUESTION)
    line = {(row.endpoint_id, row.offset): row.due_at is not None for row in WebhookDelivery.objects.order_by("offset")}
    assert line == {(one.pk, 1): True, (one.pk, 2): False, (other.pk, 2): True, (one.pk, 4): False}


def test_a_group_counts_events_without_telling_them_again(tenant: Tenant, owner: Caller) -> None:
    endpoint(owner)
    with write_transaction():
        group = log.stream_create(kind="group", tenant_id=tenant.pk)
        member = log.stream_create(kind="session", parent_id=group.pk, tenant_id=tenant.pk)
    append(member, QUESTION)
    assert WebhookDelivery.objects.get().stream_id == member.pk


def settle(row: WebhookDelivery, state: DeliveryState, age: timedelta) -> None:
    with write_transaction():
        WebhookDelivery.objects.filter(pk=row.pk).update(state=state, due_at=None, settled_at=clock.now() - age)


@pytest.mark.parametrize(
    ("state", "age", "left"),
    [
        (DeliveryState.DELIVERED, DELIVERED_KEPT - timedelta(hours=1), 1),
        (DeliveryState.DELIVERED, DELIVERED_KEPT + timedelta(hours=1), 0),
        (DeliveryState.DEAD, DEAD_KEPT - timedelta(hours=1), 1),
        (DeliveryState.DEAD, DEAD_KEPT + timedelta(hours=1), 0),
    ],
)
def test_settled_deliveries_are_kept_for_their_time(
    tenant: Tenant, owner: Caller, state: DeliveryState, age: timedelta, left: int
) -> None:
    endpoint(owner)
    append(stream_of(tenant), QUESTION)
    settle(WebhookDelivery.objects.get(), state, age)
    deliveries_expire()
    assert WebhookDelivery.objects.count() == left


def test_what_nobody_will_send_goes_and_what_waits_stays(tenant: Tenant, owner: Caller) -> None:
    kept, off, gone = endpoint(owner), endpoint(owner), endpoint(owner)
    append(stream_of(tenant), QUESTION)
    with write_transaction():
        WebhookEndpoint.objects.filter(pk=off.pk).update(disabled_at=clock.now() - DEAD_KEPT - timedelta(hours=1))
        # An event that committed while its endpoint was being deleted.
        WebhookEndpoint.objects.filter(pk=gone.pk).delete()
    deliveries_expire()
    assert list(WebhookDelivery.objects.values_list("endpoint_id", flat=True)) == [kept.pk]


def test_an_append_never_fails_for_a_webhook_that_goes(
    tenant: Tenant, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = endpoint(owner)
    stream = stream_of(tenant)
    bulk_create = WebhookDelivery.objects.bulk_create

    def overtaken(found: list[WebhookDelivery]) -> list[WebhookDelivery]:
        webhook_delete(principal=owner.principal, public_id=going.public_id)
        return bulk_create(found)

    monkeypatch.setattr(WebhookDelivery.objects, "bulk_create", overtaken)
    append(stream, QUESTION)
    assert log.read(stream.pk, after=0, limit=9)[0].type == "ask_user"
    deliveries_expire()
    assert WebhookDelivery.objects.count() == 0


def test_batches_leave_nothing_behind(tenant: Tenant, owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "BATCH", 2)
    one = endpoint(owner)
    stream = stream_of(tenant)
    append(stream, *[QUESTION] * 5)
    removal.streams_deliveries_remove(stream_ids=[stream.pk])
    assert WebhookDelivery.objects.count() == 0
    append(stream, *[QUESTION] * 5)
    webhook_delete(principal=owner.principal, public_id=one.public_id)
    assert WebhookDelivery.objects.count() == 0


async def test_a_purged_session_takes_its_deliveries_along(api: Client, receiver: Receiver) -> None:
    receiver.otherwise = answering(500)
    mine = await hook(api, receiver)
    session, other = await api.session(), await api.session()
    for name in (session, other):
        await api.run(name, "hello")
    assert (await api.delete(f"/v1/sessions/{session}?purge=true")).status == 204
    assert [delivery["sessionId"] for delivery in await mine.deliveries()] == [other]


async def test_an_erased_end_users_runs_are_told_no_more_and_the_line_goes_on(
    api: Client, receiver: Receiver, tenant: Tenant
) -> None:
    await WEBHOOKS.drain()
    mine = await hook(api, receiver, "agent_end")
    session = await api.session()
    await api.run(session, "of ann", endUser="ann")
    await api.run(session, "of bob", endUser="bob")
    await database.run(end_user_erase, tenant_id=tenant.pk, end_user="ann", actor="test")
    left = await mine.only()
    assert left["nextAttemptAt"] is not None
    await WEBHOOKS.round()
    told = (await receiver.next()).json["data"]["lastMessage"]["content"]
    assert told.strip() == "of bob"
    await purged(api)


async def purged(api: Client) -> None:
    """No session is left to be held against its log, in which there is a hole."""
    for session in (await api.get("/v1/sessions")).json["sessions"]:
        assert (await api.delete(f"/v1/sessions/{session['sessionId']}?purge=true")).status == 204


async def test_an_event_that_is_no_longer_kept_cannot_be_told(api: Client, receiver: Receiver) -> None:
    await WEBHOOKS.drain()
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    delivery = await mine.only()

    def remove() -> None:
        with write_transaction(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM events_app_event WHERE type = 'agent_end'")

    await database.run(remove)
    await WEBHOOKS.round()
    assert (await mine.until(status="dead"))["lastError"] == "event_removed"
    assert receiver.messages == []
    refused = await api.post(f"{mine.path}/deliveries/{delivery['id']}/redeliver")
    assert refused.error == (410, "gone")
    assert (await api.post(f"{mine.path}/redeliver")).json == {"redelivered": 0}
    await purged(api)


def test_an_outcome_for_an_erased_session_is_no_error(tenant: Tenant, owner: Caller) -> None:
    one = endpoint(owner)
    stream = stream_of(tenant)
    append(stream, QUESTION)

    def names(stream_ids: Any) -> dict[int, str]:
        return dict.fromkeys(stream_ids, "s")

    (attempt,) = claims.deliveries_claim(endpoint=one, limit=9, names=names)
    assert claims.deliveries_claim(endpoint=one, limit=9, names=names) == []
    with write_transaction():
        WebhookDelivery.objects.all().delete()
        Stream.objects.filter(pk=stream.pk).delete()
    assert not claims.delivery_settle(attempt=attempt, state=DeliveryState.DELIVERED, status=200, error=None)
