"""The clock of a client tool: it starts when a client that can run the tool is shown the call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import DatabaseError

from core_app.database import run
from events_app import log
from events_app.batches import StoredEvent
from events_app.deliveries import DELIVERIES
from tenants_app.principal import SESSIONS, Principal
from tests.tools.conftest import Session
from tools_app import client_clock
from tools_app.client_clock import CLIENT_CLOCKS
from tools_app.models import ToolCall

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 7200.0


@pytest.fixture(autouse=True)
def _patience(settings: Any) -> None:
    settings.GATEWAY_CLIENT_TOOL_TIMEOUT_SECONDS = PATIENCE


def client_of(session: Session) -> Principal:
    tenant = session.tenant
    return Principal(tenant.pk, tenant.slug, key_id=None, key_name="ada", scopes=frozenset({SESSIONS}))


async def requested(session: Session) -> ToolCall:
    await run(session.attach, "guarded", timeoutMs=5000)
    call_id = await run(session.planned, "guarded", {})
    assert await session.execute(call_id) is None
    return await run(session.call, call_id)


async def shown(session: Session) -> list[StoredEvent]:
    return list(await run(lambda: log.read(session.stream_id, after=0, limit=100)))


def wait_of(call: ToolCall, now: ToolCall) -> float:
    """Returns the seconds from the request to the end of the wait."""
    assert now.expires_at is not None
    assert call.started_at is not None
    return (now.expires_at - call.started_at).total_seconds()


async def test_nobody_is_there_and_the_call_waits(session: Session) -> None:
    call = await requested(session)
    assert wait_of(call, call) == PATIENCE


async def test_the_first_delivery_starts_the_tools_own_time(session: Session) -> None:
    call = await requested(session)
    await DELIVERIES.prepare(client_of(session), await shown(session))
    first = await run(session.call, call.pk)
    assert 5.0 <= wait_of(call, first) < PATIENCE / 2
    # Another process shows it to another client.
    CLIENT_CLOCKS.forget()
    await DELIVERIES.prepare(client_of(session), await shown(session))
    assert (await run(session.call, call.pk)).expires_at == first.expires_at


async def test_a_reader_starts_no_clock(session: Session) -> None:
    call = await requested(session)
    reader = replace(client_of(session), scopes=frozenset())
    await DELIVERIES.prepare(reader, await shown(session))
    assert (await run(session.call, call.pk)).expires_at == call.expires_at


async def test_a_call_that_is_settled_or_somebody_elses_is_left_alone(session: Session) -> None:
    call = await requested(session)
    events = await shown(session)
    await run(session.make_late, call.pk)
    late = await run(session.call, call.pk)
    await DELIVERIES.prepare(client_of(session), events)
    assert (await run(session.call, call.pk)).expires_at == late.expires_at


async def test_a_database_that_fails_leaves_the_call_waiting_and_the_client_served(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await requested(session)

    def fail(calls: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(client_clock, "clocks_start", fail)
    await DELIVERIES.prepare(client_of(session), await shown(session))
    monkeypatch.undo()
    await DELIVERIES.prepare(client_of(session), await shown(session))
    assert wait_of(call, await run(session.call, call.pk)) < PATIENCE / 2
