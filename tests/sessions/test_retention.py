"""Retention removes old sessions, events and ledger entries, and readers of removed offsets get `events_dropped`."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents_app.events import MessageDelta
from core_app import clock, database
from events_app import log
from events_app.models import Stream
from sessions_app import housekeeping
from sessions_app.legs import sweep as sweeping
from sessions_app.models import AgentSession, RetentionCursor, Run, RunState
from sessions_app.services import old_runs, retention
from sessions_app.services.retention import RetentionCounts, retention_apply
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.models import AuditEntry, LedgerEntry, Tenant
from tenants_app.services.audit import audit_record
from tests.conftest import Caller
from tests.gateway_harness import WAIT, Client, GatewayHarness
from tests.scripted_engine import Gate, ScriptedEngine, gated_leg

pytestmark = pytest.mark.django_db(transaction=True)


async def set_age(session: str, days: int) -> None:
    """Dates everything about the session back by this many days."""
    moment = clock.now() - timedelta(days=days)

    def age() -> None:
        AgentSession.objects.filter(public_id=session).update(updated_at=moment)
        Run.objects.filter(session__public_id=session, ended_at__isnull=False).update(ended_at=moment)
        LedgerEntry.objects.filter(session_ref=session).update(created_at=moment)

    await database.run(age)


async def apply_retention(tenant: Tenant, **kept: int) -> RetentionCounts:
    tenant.settings = {f"retention_{what}_days": days for what, days in kept.items()}
    await database.run(tenant.save)
    return await database.run(retention_apply, tenant=tenant)


async def test_nothing_goes_unless_somebody_says_so(api: Client, tenant: Tenant) -> None:
    session = await api.session()
    await api.run(session, "hello")
    await set_age(session, 5000)
    assert await apply_retention(tenant) == RetentionCounts()


async def test_quiet_sessions_go_and_younger_ones_stay(api: Client, tenant: Tenant) -> None:
    old, young = await api.session(), await api.session()
    for session in (old, young):
        await api.run(session, "hello")
    await set_age(old, 31)
    await set_age(young, 29)
    assert (await apply_retention(tenant, sessions=30)).sessions == 1
    assert (await api.get(f"/v1/sessions/{old}")).status == 404
    assert (await api.get(f"/v1/sessions/{young}")).status == 200


async def test_a_session_that_waits_or_runs_is_never_too_old(
    api: Client, tenant: Tenant, script: ScriptedEngine
) -> None:
    gate = Gate()
    script.behaviour = gated_leg(gate)
    session = await api.session()
    request_id = await api.prompt(session, "hello")
    await gate.arrival()
    await set_age(session, 100)
    assert (await apply_retention(tenant, sessions=1)).sessions == 0
    gate.open()
    assert (await api.follow_run(session, request_id))["status"] == "completed"


async def test_old_events_go_and_their_reader_is_told_from_where_to_where(api: Client, tenant: Tenant) -> None:
    session = await api.session()
    await api.run(session, "one")
    kept_from = len(await api.log(session)) + 1
    await set_age(session, 8)
    await api.run(session, "two")
    done = await apply_retention(tenant, events=7)
    assert done.events == kept_from - 1
    async with api.events(session, since=0) as reader:
        frames = await reader.read_to_end()
    assert (frames[0].event, frames[0].data) == ("events_dropped", {"from": 1, "to": kept_from - 1})
    assert [frame.id for frame in frames[1:]] == list(range(kept_from, kept_from + len(frames) - 1))
    messages = (await api.get(f"/v1/sessions/{session}/messages")).json["messages"]
    assert len(messages) == 4


async def test_the_events_that_a_running_prompt_needs_stay(api: Client, tenant: Tenant, script: ScriptedEngine) -> None:
    gate, other = Gate(), Gate()
    script.legs = [gated_leg(gate), gated_leg(other)]
    session = await api.session()
    first = await api.prompt(session, "one")
    await gate.arrival()
    second = await api.prompt(session, "two")
    gate.open()
    await api.follow_run(session, first)
    await other.arrival()
    queued_at = next(frame.id for frame in await api.log(session) if frame.data.get("text") == "two")

    def long_ago() -> None:
        Run.objects.filter(pk=first).update(ended_at=clock.now() - timedelta(days=9))

    await database.run(long_ago)
    await apply_retention(tenant, events=7)
    assert (await api.log(session))[0].id == queued_at
    other.open()
    assert (await api.follow_run(session, second))["endedAt"] is not None


async def test_a_group_says_so_too(api: Client, tenant: Tenant) -> None:
    session = await api.session(groupId="together")
    await api.run(session, "one")
    total = len(await api.log(session))
    await set_age(session, 8)
    await apply_retention(tenant, events=7)
    async with api.events("", path="/v1/groups/together/events", since=0) as reader:
        frame = await reader.next()
    assert (frame.event, frame.data) == ("events_dropped", {"from": 1, "to": total})


async def test_old_ledger_rows_go(api: Client, tenant: Tenant) -> None:
    session = await api.session()
    await api.run(session, "hello")
    await set_age(session, 400)
    assert (await apply_retention(tenant, ledger=365)).ledger == 1
    # The runs have more usage than the ledger now, which the harness refuses after other tests.
    await api.delete(f"/v1/sessions/{session}?purge=true")


async def test_the_command_applies_the_gateways_own_days_to_every_tenant(
    api: Client, gateway: GatewayHarness, stranger: Caller, settings: Any
) -> None:
    settings.GATEWAY_RETENTION_SESSIONS_DAYS = 10
    for client in (api, gateway.client(stranger)):
        await set_age(await client.session(), 11)
    output = StringIO()
    await database.run(call_command, "retention", stdout=output)
    assert output.getvalue() == ("Removed 2 sessions, 0 events, 0 ledger rows, 0 audit entries and 0 empty groups.\n")


async def test_the_sweep_goes_its_rounds_while_retention_removes(
    monkeypatch: pytest.MonkeyPatch, settings: Any, transactional_db: None
) -> None:
    settings.GATEWAY_SWEEP_SECONDS = 0
    through, loop = threading.Event(), asyncio.get_running_loop()
    rounds: asyncio.Queue[None] = asyncio.Queue()
    monkeypatch.setattr(housekeeping, "retention_apply_all", lambda *, go_on: through.wait())
    monkeypatch.setattr(sweeping, "sweep", lambda go_on: loop.call_soon_threadsafe(rounds.put_nowait, None))
    sweep = sweeping.Sweep()
    await sweep.start()
    try:
        async with asyncio.timeout(WAIT):
            for _ in range(3):
                await rounds.get()
        assert not through.is_set()
    finally:
        through.set()
        await sweep.stop()


def old_sessions(owner: Caller, count: int, *, head: int = 3, floor: int = 3) -> list[AgentSession]:
    """Creates sessions whose only run ended long ago, with streams whose events up to `floor` have been removed."""
    made = []
    for _ in range(count):
        session = session_create(principal=owner.principal, request=SessionRequest(model="demo:echo"))
        log.append(session.stream_id, [MessageDelta(message_id="m", delta="hello")] * head)
        Stream.objects.filter(pk=session.stream_id).update(floor=floor)
        ended_run(session, 1, through=head)
        made.append(session)
    return made


def ended_run(session: AgentSession, number: int, *, through: int, days: int = 100) -> Run:
    moment = clock.now() - timedelta(days=days)
    fields = {"state": RunState.COMPLETED, "ended_at": moment, "first_offset": 1, "last_offset": through}
    return Run.objects.create(session=session, tenant_id=session.tenant_id, number=number, text="go", **fields)


def keep_events(tenant: Tenant, days: int) -> Tenant:
    tenant.settings = {"retention_events_days": days}
    tenant.save()
    return tenant


def test_a_round_with_nothing_to_remove_asks_no_more_for_many_sessions_than_for_one(
    tenant: Tenant, owner: Caller
) -> None:
    keep_events(tenant, 7)

    def count_statements() -> int:
        RetentionCursor.objects.all().delete()
        with CaptureQueriesContext(connection) as asked:
            assert retention_apply(tenant=tenant) == RetentionCounts()
        return len(asked)

    old_sessions(owner, 1)
    one = count_statements()
    old_sessions(owner, 40)
    assert count_statements() == one < 20


def test_runs_are_read_in_pages(tenant: Tenant, owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_runs, "PAGE", 2)
    old_sessions(owner, 5, floor=0)
    assert retention_apply(tenant=keep_events(tenant, 7)).events == 5 * 3


def test_a_round_looks_only_at_runs_that_ended_since_the_one_before(tenant: Tenant, owner: Caller) -> None:
    keep_events(tenant, 7)
    old, new = old_sessions(owner, 2, floor=0)
    Run.objects.filter(session=new).update(ended_at=clock.now())
    assert retention_apply(tenant=tenant).events == 3
    # Only a look at the run from before the first round could find this.
    Stream.objects.filter(pk=old.stream_id).update(floor=0)
    Run.objects.filter(session=new).update(ended_at=clock.now() - timedelta(days=7))
    with CaptureQueriesContext(connection) as asked:
        assert retention_apply(tenant=tenant).events == 3
    assert Stream.objects.get(pk=old.stream_id).floor == 0
    assert Stream.objects.get(pk=new.stream_id).floor == 3
    assert len(asked) < 24


def test_events_that_an_unfinished_run_kept_go_when_it_has_ended(tenant: Tenant, owner: Caller) -> None:
    keep_events(tenant, 7)
    (session,) = old_sessions(owner, 1, floor=0)
    fields = {"state": RunState.QUEUED, "first_offset": 3}
    late = Run.objects.create(session=session, tenant_id=tenant.pk, number=2, text="go", **fields)
    assert retention_apply(tenant=tenant).events == 2
    assert retention_apply(tenant=tenant).events == 0
    Run.objects.filter(pk=late.pk).update(state=RunState.COMPLETED, ended_at=clock.now(), last_offset=3)
    assert retention_apply(tenant=tenant).events == 1


def test_a_round_that_was_cut_off_is_completed_by_the_next(tenant: Tenant, owner: Caller) -> None:
    old_sessions(owner, 4, floor=0)
    keep_events(tenant, 7)
    left = iter([True] * 6)
    removed = retention_apply(tenant=tenant, go_on=lambda: next(left, False)).events
    assert 0 < removed < 12
    assert removed + retention_apply(tenant=tenant).events == 12


def test_a_tenant_with_much_to_remove_does_not_keep_the_next_from_its_turn(
    tenant: Tenant, owner: Caller, stranger: Caller, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.GATEWAY_RETENTION_EVENTS_DAYS = 7
    monkeypatch.setattr(retention, "TURN_BATCHES", 8)
    assert owner.principal.tenant_id < stranger.principal.tenant_id
    old_sessions(owner, 30, floor=0)
    (last,) = old_sessions(stranger, 1, floor=0)
    # Enough for some turns, and not for all that the first tenant has.
    left = iter([True] * 40)
    removed = retention.retention_apply_all(go_on=lambda: next(left, False)).events
    assert Stream.objects.get(pk=last.stream_id).floor == 3
    assert removed < 31 * 3
    assert removed + retention.retention_apply_all().events == 31 * 3


def test_old_audit_entries_go_and_those_about_the_gateway_by_its_own_setting(
    tenant: Tenant, stranger: Caller, settings: Any
) -> None:
    AuditEntry.objects.all()._raw_delete(connection.alias)
    settings.GATEWAY_RETENTION_AUDIT_DAYS = 30
    tenant.settings = {"retention_audit_days": 90}
    tenant.save()
    for tenant_id in (tenant.pk, stranger.principal.tenant_id, None):
        for days in (10, 60, 100):
            entry = audit_record(tenant_id=tenant_id, actor="test", action="thing.do", target=str(days))
            AuditEntry.objects.filter(pk=entry.pk).update(at=clock.now() - timedelta(days=days))
    assert retention.retention_apply_all().audit == 1 + 2 + 2
    kept = AuditEntry.objects.values_list("tenant_id", "target")
    assert sorted(kept, key=str) == sorted(
        [(tenant.pk, "10"), (tenant.pk, "60"), (stranger.principal.tenant_id, "10"), (None, "10")], key=str
    )
