"""Latencies and outcomes of runs: what a run's row records, and the sums that pages show."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from core_app import database
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.run_figures import NO_AGENT, NO_END_USER, Latency, run_report
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.models import ApiKey
from tests.conftest import Caller
from tests.gateway_harness import Client, api, gateway

__all__ = ["api", "gateway"]

DAY = date(2026, 3, 5)
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


def run_ended(owner: Caller, *, days: int = 0, agent: str | None = None, user: str | None = None, **more: Any) -> Run:
    """Makes a run that ended on DAY, or `days` later."""
    session = session_create(principal=owner.principal, request=SessionRequest(model="demo:tour"))
    AgentSession.objects.filter(pk=session.pk).update(agent=agent)
    receipt = prompt_accept(
        principal=owner.principal, public_id=session.public_id, prompt=Prompt(text="hello", end_user=user)
    )
    values = {"state": RunState.COMPLETED, "ended_at": NOON + timedelta(days=days), "last_offset": 9, **more}
    Run.objects.filter(pk=receipt.run_pk).update(**values)
    return Run.objects.get(pk=receipt.run_pk)


@pytest.mark.django_db(transaction=True)
async def test_a_run_records_when_its_first_output_came_and_how_long_it_took(api: Client) -> None:
    session = await api.session(model="demo:tour", providerOpts={"delayMs": 2})
    first = await api.run(session, "hello")
    failed = await api.run(session, "fail now")
    one = await database.run(Run.objects.get, pk=first["requestId"])
    two = await database.run(Run.objects.get, pk=failed["requestId"])
    assert one.first_output_ms is not None
    assert one.duration_ms is not None
    assert 0 <= one.first_output_ms <= one.duration_ms
    assert two.first_output_ms is None
    assert two.duration_ms is not None


@pytest.mark.django_db
def test_runs_are_summed_by_day_and_name(owner: Caller) -> None:
    run_ended(owner, first_output_ms=120, duration_ms=900, input_tokens=10, output_tokens=5, cost_usd="0.25")
    run_ended(owner, first_output_ms=180, duration_ms=1900, state=RunState.FAILED, agent="helper")
    run_ended(owner, days=1, state=RunState.ABORTED, cost_known=False, user="ann")
    run_ended(owner, days=2)
    report = run_report(tenant_id=owner.principal.tenant_id, since=DAY, until=DAY + timedelta(days=1), by="agent")
    assert {name: figures.runs for name, figures in report.by_name.items()} == {NO_AGENT: 2, "helper": 1}
    assert [(day.isoformat(), each.runs, each.failed, each.stopped) for day, each in sorted(report.by_day.items())] == [
        ("2026-03-05", 2, 1, 0),
        ("2026-03-06", 1, 0, 1),
    ]
    figures = report.by_name[NO_AGENT]
    assert (figures.tokens, str(figures.cost_usd), figures.unpriced) == (15, "0.2500000000", 1)
    assert 100 < (figures.first_output.percentile(0.5) or 0) <= 150
    assert figures.first_output.count == 1


@pytest.mark.django_db
def test_keys_and_end_users_have_their_own_lines(owner: Caller, stranger: Caller) -> None:
    run_ended(owner, user="ann", duration_ms=700)
    run_ended(owner, duration_ms=70)
    run_ended(stranger, user="eve")
    tenant_id = owner.principal.tenant_id
    users = run_report(tenant_id=tenant_id, since=DAY, until=DAY, by="end_user")
    assert {name: figures.runs for name, figures in users.by_name.items()} == {"ann": 1, NO_END_USER: 1}
    assert users.by_day == {}
    assert 500 < (users.by_name["ann"].duration.percentile(0.5) or 0) <= 1000
    keys = run_report(tenant_id=tenant_id, since=DAY, until=DAY, by="key")
    prefix = ApiKey.objects.get(tenant_id=tenant_id).prefix
    assert list(keys.by_name) == [f"test key ({prefix}…)"]
    every = run_report(tenant_id=None, since=DAY, until=DAY, by="model")
    assert every.by_name["demo:tour"].runs == 3
    one = run_report(tenant_id=None, since=DAY, until=DAY, by="model", key_id=stranger.principal.key_id)
    assert one.by_name["demo:tour"].runs == 1


def test_percentiles_lie_within_their_step() -> None:
    latency = Latency()
    assert latency.percentile(0.5) is None
    latency.steps[100, 150] = 50
    latency.steps[900, 950] = 50
    assert latency.percentile(0.5) == 150
    assert latency.percentile(0.25) == 125
    assert 940 < (latency.percentile(0.95) or 0) < 950
