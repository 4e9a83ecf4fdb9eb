"""Deliveries: their content, their order, and the consequences of each response."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import WebhookVerificationError

from agents_app.engine import Failed, Leg
from core_app import clock, database, guarded_client
from core_app.database import database_now, write_transaction
from events_app.models import WebhookDelivery, WebhookEndpoint
from events_app.webhooks import claims, sender
from events_app.webhooks.schedule import PAUSES
from gateway_project.process.lifecycle import WEBHOOKS
from sessions_app.models import AgentSession
from sessions_app.selectors import session_names
from tenants_app.models import AuditEntry, Tenant
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness, eventually
from tests.going_back import go_back, number_generations
from tests.scripted_engine import ScriptedEngine
from tests.webhooks.conftest import Hook, hook, rows, time_passes
from tests.webhooks.receiver import Held, Receiver, fixed_reply

pytestmark = pytest.mark.django_db(transaction=True)


async def due_in(delivery_id: str) -> float:
    """Seconds until the delivery's next attempt."""

    def read() -> float:
        due_at = WebhookDelivery.objects.get(pk=delivery_id).due_at
        assert due_at is not None
        return due_at - database_now()

    return await database.run(read)


class Pauses:
    """The pauses that were written. Every next attempt waits for `time_passes`: a slow machine makes none by itself."""

    def __init__(self) -> None:
        self._bounds: dict[tuple[str, int], tuple[float, float]] = {}

    def record(self, postpone: Any) -> Any:
        """Wraps `claims.delivery_postpone`: reads the due time it wrote, between two reads of the database's clock."""

        def postpone_recorded(*, attempt: claims.Attempt, **outcome: Any) -> bool:
            with write_transaction():
                before = database_now()
                done: bool = postpone(attempt=attempt, **outcome)
                row = WebhookDelivery.objects.filter(pk=attempt.delivery_id).first()
                if done and row is not None and row.due_at is not None:
                    bounds = (row.due_at - database_now(), row.due_at - before)
                    self._bounds[attempt.delivery_id, attempt.number] = bounds
                    WebhookDelivery.objects.filter(pk=row.pk).update(due_at=row.due_at + 1_000_000)
            return done

        return postpone_recorded

    async def after(self, delivery_id: str, number: int) -> Any:
        """Returns a value that equals the pause after the delivery's attempt of that number."""
        await eventually(lambda: (delivery_id, number) in self._bounds)
        least, most = self._bounds[delivery_id, number]
        return pytest.approx((least + most) / 2, abs=(most - least) / 2 + 0.001)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses = Pauses()
    monkeypatch.setattr(claims, "delivery_postpone", pauses.record(claims.delivery_postpone))
    return pauses


async def test_an_answer_is_told_as_the_log_has_it(api: Client, receiver: Receiver) -> None:
    mine = await hook(api, receiver)
    session = await api.session()
    await api.run(session, "hello there")
    message = await receiver.next()
    told = message.verify(mine.secret)
    event = next(frame for frame in await api.log(session) if frame.event == "agent_end")
    assert told == {
        "type": "agent_end",
        "timestamp": event.data["at"],
        "data": {**event.data, "sessionId": session, "id": event.id},
    }
    delivery = await mine.until(status="delivered")
    assert delivery == delivery | {
        "id": message.id,
        "type": "agent_end",
        "sessionId": session,
        "eventId": event.id,
        "attempts": 1,
        "lastStatusCode": 200,
        "lastError": None,
        "nextAttemptAt": None,
    }


async def test_a_delivery_names_the_position_of_its_event_after_a_restore_too(
    api: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    number_generations(monkeypatch)
    mine = await hook(api, receiver, "agent_end")
    session = await api.session()
    before = (await api.get(f"/v1/sessions/{session}")).json["lastEventIndex"]
    await database.run(lambda: go_back(AgentSession.objects.get(public_id=session).stream_id, before))
    await api.run(session, "hello there")
    told = (await receiver.next()).verify(mine.secret)
    event = next(frame for frame in await api.log(session) if frame.event == "agent_end")
    assert event.id.endswith(".1")
    assert told["data"]["id"] == event.id
    assert (await mine.only())["eventId"] == event.id


async def test_every_type_that_can_be_chosen_is_told(api: Client, receiver: Receiver) -> None:
    await hook(api, receiver)
    session = await api.session(model="demo:tour")
    request = await api.prompt(session, "please approve")
    asked = await receiver.next()
    await api.post(f"/v1/sessions/{session}/approve", {"approvalId": asked.json["data"]["approvalId"]})
    await api.follow_run(session, request)
    types = [asked.type, (await receiver.next()).type]
    await api.prompt(session, "ask me")
    types.append((await receiver.next()).type)
    await api.delete(f"/v1/sessions/{session}")
    types += [(await receiver.next()).type, (await receiver.next()).type]
    assert types == ["approval_required", "agent_end", "ask_user", "agent_abort", "session_closed"]


async def test_a_failed_run_is_told_by_its_terminal_event(
    api: Client, receiver: Receiver, script: ScriptedEngine
) -> None:
    async def fail(leg: Leg) -> Failed:
        return Failed("upstream_error", "No.", retryable=False)

    script.behaviour = fail
    await hook(api, receiver, "agent_abort")
    await api.run(await api.session(), "hello")
    assert (await receiver.next()).json["data"]["reason"] == "error"


async def test_only_chosen_types_make_deliveries(api: Client, receiver: Receiver) -> None:
    mine = await hook(api, receiver, "session_closed")
    session = await api.session()
    await api.run(session, "hello")
    await api.delete(f"/v1/sessions/{session}")
    assert (await receiver.next()).type == "session_closed"
    assert [delivery["type"] for delivery in await mine.deliveries()] == ["session_closed"]


async def test_each_endpoint_gets_a_message_of_its_own(api: Client, receiver: Receiver) -> None:
    first, second = await hook(api, receiver), await hook(api, receiver)
    await api.run(await api.session(), "hello")
    messages = {message.id: message for message in (await receiver.next(), await receiver.next())}
    for one in (first, second):
        messages[(await one.only())["id"]].verify(one.secret)
    assert len(messages) == 2


async def test_a_fork_is_told_of_too(api: Client, receiver: Receiver) -> None:
    session = await api.session()
    await api.run(session, "hello")
    messages = (await api.get(f"/v1/sessions/{session}/messages")).json["messages"]
    await hook(api, receiver)
    fork = (await api.post(f"/v1/sessions/{session}/fork", {"messageId": messages[-1]["id"]})).json["sessionId"]
    await api.run(fork, "again")
    assert (await receiver.next()).json["data"]["sessionId"] == fork


async def test_another_tenant_is_told_nothing(
    api: Client, gateway: GatewayHarness, stranger: Caller, receiver: Receiver
) -> None:
    await hook(api, receiver)
    theirs = gateway.client(stranger)
    await theirs.run(await theirs.session(), "mine alone")
    assert await rows() == 0


async def test_without_a_webhook_nothing_is_written(api: Client) -> None:
    session = await api.session()
    await api.run(session, "hello")
    await api.delete(f"/v1/sessions/{session}")
    assert await rows() == 0


async def test_a_failed_attempt_is_made_again_with_the_same_id_and_body(api: Client, receiver: Receiver) -> None:
    receiver.replies = [fixed_reply(500)]
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    first = await receiver.next()
    waiting = await mine.until(attempts=1, lastStatusCode=500)
    assert (waiting["status"], waiting["lastError"]) == ("pending", "status")
    await time_passes()
    second = await receiver.next()
    assert (second.id, second.body) == (first.id, first.body)
    assert (await mine.until(status="delivered"))["attempts"] == 2


async def test_pauses_grow_as_promised_and_then_the_delivery_is_dead(
    api: Client, receiver: Receiver, pauses: Pauses
) -> None:
    receiver.otherwise = fixed_reply(503)
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    for number, pause in enumerate(PAUSES, start=1):
        await receiver.next()
        delivery = await mine.until(attempts=number, lastStatusCode=503)
        assert pause == await pauses.after(delivery["id"], number)
        await until_unclaimed(delivery["id"])
        await time_passes()
    await receiver.next()
    dead = await mine.until(status="dead")
    assert (dead["attempts"], dead["lastError"], dead["nextAttemptAt"]) == (len(PAUSES) + 1, "status", None)
    assert PAUSES == (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


async def until_unclaimed(delivery_id: str) -> None:
    """Waits until the outcome of the running attempt is written."""

    def free() -> bool:
        return WebhookDelivery.objects.filter(pk=delivery_id, claim__isnull=True).exists()

    async with asyncio.timeout(60):
        while not await database.run(free):
            pass


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3600", 3600),
        (lambda: format_datetime(clock.now() + timedelta(hours=1), usegmt=False), 3600),
        ("1", 5),
        ("900000", 86400),
        ("9" * 400, 86400),
        ("soon", 5),
        ("Mon, 01 Jan 2026 99999999999999999999:00:00 GMT", 5),
        ("Wed, 21 Oct 1915 07:28:00 GMT", 5),
    ],
)
async def test_retry_after_is_honoured(
    api: Client, receiver: Receiver, value: Any, seconds: int, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = clock.now().replace(microsecond=0)
    monkeypatch.setattr(clock, "now", lambda: moment)
    asked = value if isinstance(value, str) else value()
    receiver.replies = [fixed_reply(429, {"Retry-After": asked})]
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    delivery = await mine.until(attempts=1, lastStatusCode=429)
    assert seconds == await pauses.after(delivery["id"], 1)


async def test_410_switches_the_endpoint_off_and_the_rest_waits(api: Client, receiver: Receiver) -> None:
    held = Held()
    gone = fixed_reply(410)

    async def reply(request: web.Request) -> web.StreamResponse:
        await held(request)
        return await gone(request)

    receiver.replies = [reply]
    mine = await hook(api, receiver, "agent_end")
    session = await api.session()
    await api.run(session, "one")
    await held.arrivals(1)
    await api.run(session, "two")
    held.open.set()
    await eventually_off(mine)
    first, second = await mine.deliveries()
    assert (first["lastStatusCode"], first["lastError"]) == (410, "gone")
    await api.run(session, "three")
    assert len(await mine.deliveries()) == 2
    assert (await api.post(f"{mine.path}/test")).error == (409, "conflict")
    assert (await api.post(f"{mine.path}/deliveries/{first['id']}/redeliver")).error == (409, "conflict")
    actions = await database.run(lambda: list(AuditEntry.objects.values_list("action", "actor")))
    assert ("webhook.gone", "system") in actions
    assert receiver.waiting == 1
    await receiver.next()
    await api.patch(mine.path, {"disabled": False})
    assert (await receiver.next()).id == second["id"]


async def test_410_of_an_address_that_was_changed_meanwhile_switches_nothing_off(
    api: Client, receiver: Receiver
) -> None:
    held, gone = Held(), fixed_reply(410)

    async def reply(request: web.Request) -> web.StreamResponse:
        await held(request)
        return await gone(request)

    receiver.replies = [reply]
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "one")
    await held.arrivals(1)
    await api.patch(mine.path, {"url": f"{receiver.url}/new"})
    held.open.set()
    await mine.until(status="pending", lastStatusCode=410, lastError="status")
    assert (await api.get(mine.path)).json["disabledAt"] is None
    await time_passes()
    await mine.until(status="delivered")


async def eventually_off(mine: Hook) -> None:
    async with asyncio.timeout(60):
        while True:
            shown = (await mine.client.get(mine.path)).json
            settled = [delivery for delivery in await mine.deliveries() if delivery["status"] == "dead"]
            if shown["disabledReason"] == "gone" and settled:
                return


async def test_a_session_is_told_in_order_and_others_do_not_wait(api: Client, receiver: Receiver) -> None:
    receiver.replies = [fixed_reply(500)]
    mine = await hook(api, receiver, "agent_end")
    session, other = await api.session(), await api.session()
    await api.run(session, "first")
    failed = await receiver.next()
    await api.run(session, "second")
    await api.run(other, "elsewhere")
    assert (await receiver.next()).json["data"]["sessionId"] == other
    statuses = [(row["sessionId"], row["status"], row["attempts"]) for row in await mine.deliveries()]
    assert statuses[:2] == [(session, "pending", 1), (session, "pending", 0)]
    assert (await mine.deliveries())[1]["nextAttemptAt"] is None
    await time_passes()
    assert (await receiver.next()).id == failed.id
    assert (await receiver.next()).json["data"]["lastMessage"]["content"].strip() == "second"


async def test_what_waits_behind_a_dead_delivery_goes_on(api: Client, receiver: Receiver) -> None:
    receiver.replies = [fixed_reply(500)]
    mine = await hook(api, receiver, "agent_end")
    session = await api.session()
    await api.run(session, "first")
    await mine.until(attempts=1, lastStatusCode=500)
    await api.run(session, "second")
    await last_attempt((await mine.deliveries())[0]["id"])
    receiver.replies = [fixed_reply(500)]
    await time_passes()
    [await receiver.next() for _ in range(2)]
    assert (await receiver.next()).json["data"]["lastMessage"]["content"].strip() == "second"
    assert (await mine.deliveries())[0]["status"] == "dead"


async def last_attempt(delivery_id: str) -> None:
    """Makes the delivery's next failure its last."""
    await until_unclaimed(delivery_id)

    def change() -> None:
        with write_transaction():
            WebhookDelivery.objects.filter(pk=delivery_id).update(attempts=len(PAUSES))

    await database.run(change)


async def test_dead_deliveries_are_kept_and_sent_again(api: Client, receiver: Receiver) -> None:
    receiver.replies = [fixed_reply(500), fixed_reply(500)]
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    await mine.until(attempts=1, lastStatusCode=500)
    await last_attempt((await mine.only())["id"])
    await time_passes()
    dead = await mine.until(status="dead")
    receiver.messages.clear()
    again = await api.post(f"{mine.path}/deliveries/{dead['id']}/redeliver")
    assert (again.status, again.json["status"], again.json["attempts"]) == (202, "pending", 0)
    await mine.until(status="delivered", attempts=1)
    await api.post(f"{mine.path}/deliveries/{dead['id']}/redeliver")
    await eventually(lambda: len(receiver.messages) == 2)
    assert {message.id for message in receiver.messages} == {dead["id"]}


async def test_all_dead_deliveries_can_be_sent_again_at_once(api: Client, receiver: Receiver) -> None:
    receiver.otherwise = fixed_reply(500)
    mine = await hook(api, receiver, "agent_end")
    session, other = await api.session(), await api.session()
    for name in (session, other):
        await api.run(name, "hello")
    for delivery in await mine.deliveries():
        await receiver.next()
        await last_attempt(delivery["id"])
    await time_passes()
    await receiver.next()
    await receiver.next()
    receiver.otherwise = fixed_reply(200)
    async with asyncio.timeout(60):
        while len(await mine.deliveries(status="dead")) < 2:
            pass
    assert (await api.post(f"{mine.path}/redeliver")).json == {"redelivered": 2}
    told = {(await receiver.next()).json["data"]["sessionId"] for _ in range(2)}
    assert told == {session, other}
    assert (await api.post(f"{mine.path}/redeliver")).json == {"redelivered": 0}


async def test_a_pending_delivery_can_be_tried_now_but_not_while_it_is_sent_or_in_line(
    api: Client, receiver: Receiver
) -> None:
    held = Held()
    receiver.replies = [fixed_reply(500), held]
    mine = await hook(api, receiver, "agent_end")
    session = await api.session()
    await api.run(session, "first")
    first = await mine.until(attempts=1, lastStatusCode=500)
    await until_unclaimed(first["id"])
    await api.run(session, "second")
    second = (await mine.deliveries())[1]
    assert (await api.post(f"{mine.path}/deliveries/{second['id']}/redeliver")).error == (409, "conflict")
    assert (await api.post(f"{mine.path}/deliveries/{first['id']}/redeliver")).status == 202
    await held.arrivals(1)
    assert (await api.post(f"{mine.path}/deliveries/{first['id']}/redeliver")).error == (409, "conflict")
    held.open.set()


async def test_a_test_message_can_be_asked_for(api: Client, receiver: Receiver) -> None:
    mine = await hook(api, receiver, "session_closed")
    answer = await api.post(f"{mine.path}/test")
    assert (answer.status, answer.json["type"], answer.json["sessionId"]) == (202, "test", None)
    message = await receiver.next()
    told = message.verify(mine.secret)
    assert (told["type"], told["data"], message.id) == ("test", {"webhookId": mine.id}, answer.json["id"])
    assert (await mine.until(status="delivered"))["lastStatusCode"] == 200


async def test_a_rotated_secret_signs_at_once_and_the_former_for_a_day(api: Client, receiver: Receiver) -> None:
    mine = await hook(api, receiver)
    rotated = await api.post(f"{mine.path}/rotate")
    new = rotated.json["secret"]
    assert new != mine.secret
    assert rotated.json["formerSecretUntil"] is not None
    await api.post(f"{mine.path}/test")
    message = await receiver.next()
    assert message.verify(new) == message.verify(mine.secret)

    def a_day_later() -> None:
        with write_transaction():
            WebhookEndpoint.objects.update(former_until=clock.now())

    await database.run(a_day_later)
    await api.post(f"{mine.path}/test")
    message = await receiver.next()
    message.verify(new)
    with pytest.raises(WebhookVerificationError):
        message.verify(mine.secret)
    assert (await api.get(mine.path)).json["formerSecretUntil"] is None


async def test_an_address_that_leads_inside_is_refused_at_every_attempt(
    api: Client, receiver: Receiver, settings: Any
) -> None:
    mine = await hook(api, receiver, "agent_end")
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = False
    await api.run(await api.session(), "hello")
    await mine.until(attempts=1, lastError="address_refused", lastStatusCode=None, status="pending")
    assert receiver.messages == []


async def broken_off(request: web.Request) -> web.StreamResponse:
    """A body that is shorter than its Content-Length."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"only this")
    assert request.transport is not None
    request.transport.close()
    return response


async def never_ending(request: web.Request) -> web.StreamResponse:
    """A body that does not end."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"and")
    await asyncio.Event().wait()
    return response


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (fixed_reply(302, {"Location": "/elsewhere"}), {"lastStatusCode": 302, "status": "pending"}),
        (fixed_reply(204), {"lastStatusCode": 204, "status": "delivered"}),
        (fixed_reply(200, body=b"x" * 5_000_000), {"lastStatusCode": 200, "status": "delivered"}),
        (fixed_reply(404, body=b"secret words"), {"lastStatusCode": 404, "status": "pending"}),
        (fixed_reply(200, {"Content-Encoding": "gzip"}, b"packed, or so it says"), {"status": "delivered"}),
        (
            fixed_reply(410, {"Content-Encoding": "br"}, b"packed, or so it says"),
            {"status": "dead", "lastError": "gone"},
        ),
        (broken_off, {"lastStatusCode": 200, "status": "delivered"}),
        (never_ending, {"lastStatusCode": 200, "status": "delivered"}),
    ],
)
async def test_only_the_status_of_an_answer_counts(
    api: Client, receiver: Receiver, reply: Any, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_client, "DROP_SECONDS", 0.05)
    receiver.replies = [reply]
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    delivery = await mine.until(attempts=1, **wanted)
    assert "secret words" not in str(delivery)
    assert len(receiver.messages) == 1


async def test_silence_is_a_failure(api: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "ATTEMPT_SECONDS", 0.05)
    held = Held()
    receiver.otherwise = held
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    await mine.until(attempts=1, lastError="timeout")
    held.open.set()


async def test_nobody_there_is_a_failure(api: Client, private_allowed: None) -> None:
    nowhere = Receiver()
    nowhere.url = "http://127.0.0.1:1/"
    mine = await hook(api, nowhere, "agent_end")
    await api.run(await api.session(), "hello")
    await mine.until(attempts=1, lastError="unreachable")


async def test_a_secret_sealed_under_another_key_is_a_failure_that_says_so(
    api: Client, receiver: Receiver, settings: Any
) -> None:
    mine = await hook(api, receiver, "agent_end")

    def foreign() -> None:
        with write_transaction():
            WebhookEndpoint.objects.update(secret="gAAAAABotherkey")

    await database.run(foreign)
    await api.run(await api.session(), "hello")
    await mine.until(attempts=1, lastError="secret_unreadable")
    assert receiver.messages == []


async def test_a_hanging_endpoint_holds_its_share_and_nobody_else(
    api: Client, receiver: Receiver, gateway: GatewayHarness, stranger: Caller
) -> None:
    held = Held()
    receiver.otherwise = held
    slow = await hook(api, receiver, "agent_end")
    for _ in range(sender.PER_ENDPOINT + 2):
        await api.run(await api.session(), "hello")
    await held.arrivals(sender.PER_ENDPOINT)
    waiting = [row for row in await slow.deliveries() if row["attempts"] == 0]
    assert len(waiting) == 2
    receiver.replies = [fixed_reply(200)]
    theirs = gateway.client(stranger)
    fast = await hook(theirs, receiver, "agent_end")
    await theirs.run(await theirs.session(), "hello")
    await fast.until(status="delivered")
    held.open.set()


async def test_an_endpoint_that_failed_is_tried_by_one_attempt_at_a_time(
    api: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WEBHOOKS, "_failing", set())
    held = Held()
    receiver.replies, receiver.otherwise = [fixed_reply(500)], held
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    await mine.until(attempts=1, lastStatusCode=500)
    for _ in range(3):
        await api.run(await api.session(), "hello")
    await held.arrivals(1)
    assert len([row for row in await mine.deliveries() if row["attempts"] == 0]) == 2
    held.open.set()
    await eventually(lambda: len(receiver.messages) == 4)


async def test_a_disabled_tenants_deliveries_wait(api: Client, receiver: Receiver, tenant: Tenant) -> None:
    receiver.replies = [fixed_reply(500)]
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    await until_unclaimed((await mine.until(attempts=1, lastStatusCode=500))["id"])

    def disable(moment: Any) -> None:
        with write_transaction():
            Tenant.objects.filter(pk=tenant.pk).update(disabled_at=moment)

    await database.run(disable, clock.now())
    await time_passes()
    assert await database.run(claims.endpoints_due, limit=10) == []
    await database.run(disable, None)
    await time_passes()
    await mine.until(status="delivered")


async def test_what_two_senders_find_is_sent_once(api: Client, receiver: Receiver, gateway: GatewayHarness) -> None:
    await WEBHOOKS.drain()
    await hook(api, receiver, "agent_end")
    for _ in range(12):
        await api.run(await api.session(), "hello")
    first, second = sender.WebhookSender(session_names), sender.WebhookSender(session_names)
    for _ in range(4):
        await asyncio.gather(first.round(), second.round())
        await asyncio.gather(*first._sending, *second._sending)
    assert len(receiver.messages) == 12
    assert len({message.id for message in receiver.messages}) == 12


async def test_what_was_sent_but_not_noted_is_sent_again_with_the_same_id(
    api: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, gateway: GatewayHarness
) -> None:
    mine = await hook(api, receiver, "agent_end")
    with monkeypatch.context() as dying:
        dying.setattr(claims, "delivery_settle", lambda **given: 1 / 0)
        await api.run(await api.session(), "hello")
        first = await receiver.next()
        await eventually(lambda: not WEBHOOKS._sending)
    assert (await mine.only())["status"] == "pending"
    await gateway.restart()
    assert receiver.waiting == 0
    assert await due_in(first.id) > 0
    await time_passes()
    assert (await receiver.next()).id == first.id
    assert (await mine.until(status="delivered"))["attempts"] == 2


async def test_a_process_that_ends_gives_back_what_it_was_sending(
    api: Client, receiver: Receiver, gateway: GatewayHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "GRACE_SECONDS", 0.01)
    held = Held()
    receiver.replies = [held]
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    await held.arrivals(1)
    first = await receiver.next()
    await gateway.restart()
    assert (await receiver.next()).id == first.id
    await mine.until(status="delivered")
    held.open.set()


async def test_a_claim_that_was_lost_changes_nothing(api: Client, receiver: Receiver) -> None:
    held = Held()
    receiver.replies = [held, fixed_reply(500)]
    mine = await hook(api, receiver, "agent_end")
    await api.run(await api.session(), "hello")
    await held.arrivals(1)
    await time_passes()
    await mine.until(attempts=2, lastStatusCode=500)
    held.open.set()
    await eventually(lambda: not WEBHOOKS._sending)
    assert (await mine.only())["status"] == "pending"
