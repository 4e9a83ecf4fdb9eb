"""Retention removes old sessions, events and ledger entries, and readers of removed offsets get `events_dropped`."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from core_app import clock, database
from sessions_app import housekeeping
from sessions_app.legs import sweep as sweeping
from sessions_app.models import AgentSession, Run
from sessions_app.services.retention import RetentionCounts, retention_apply
from tenants_app.models import LedgerEntry, Tenant
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
    assert output.getvalue() == "Removed 2 sessions, 0 events, 0 ledger rows and 0 empty groups.\n"


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
