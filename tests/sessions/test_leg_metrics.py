"""Metrics of legs: their time in the queue, retries, and refused writes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from core_app import clock
from core_app.database import write_transaction
from core_app.metrics import REGISTRY
from events_app import log
from events_app.lease import Fence, LeaseLost, lease_claim, lease_release
from sessions_app.events import AgentStart
from sessions_app.legs.start import leg_start
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from tests.conftest import Caller

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 31, 12, tzinfo=clock.now().tzinfo)
Begin = Callable[[], Fence]


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


@pytest.fixture
def session(owner: Caller) -> AgentSession:
    return session_create(principal=owner.principal, request=SessionRequest(public_id="measured", model="demo:echo"))


@pytest.fixture
def begin(
    session: AgentSession,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> Begin:
    """Returns a function that starts a leg of the session at NOON."""
    monkeypatch.setattr(clock, "now", lambda: NOON)

    def act() -> Fence:
        fence = lease_claim(stream_id=session.stream_id, owner="test", seconds=60)
        assert fence is not None
        with django_capture_on_commit_callbacks(execute=True):
            leg_start(session_id=session.pk, fence=fence)
        return fence

    return act


def prompt(owner: Caller, seconds_ago: float) -> Run:
    receipt = prompt_accept(principal=owner.principal, public_id="measured", prompt=Prompt(text="go"))
    Run.objects.filter(pk=receipt.run_pk).update(created_at=NOON - timedelta(seconds=seconds_ago))
    return Run.objects.get(pk=receipt.run_pk)


def test_a_first_leg_has_waited_since_its_prompt(owner: Caller, begin: Begin) -> None:
    prompt(owner, 40)
    before = sample("gateway_queue_seconds_sum")
    begin()
    assert sample("gateway_queue_seconds_sum") - before == pytest.approx(40)


def test_a_run_behind_another_has_waited_since_that_ones_end(owner: Caller, begin: Begin) -> None:
    first, _ = prompt(owner, 40), prompt(owner, 30)
    ended = NOON - timedelta(seconds=5)
    Run.objects.filter(pk=first.pk).update(state=RunState.COMPLETED, ended_at=ended, last_offset=first.first_offset + 1)
    before = sample("gateway_queue_seconds_sum")
    begin()
    assert sample("gateway_queue_seconds_sum") - before == pytest.approx(5)


def test_a_leg_after_a_decision_has_waited_since_then(owner: Caller, session: AgentSession, begin: Begin) -> None:
    run = prompt(owner, 40)
    Run.objects.filter(pk=run.pk).update(state=RunState.READY)
    AgentSession.objects.filter(pk=session.pk).update(updated_at=NOON - timedelta(seconds=2))
    before = sample("gateway_queue_seconds_sum")
    begin()
    assert sample("gateway_queue_seconds_sum") - before == pytest.approx(2)


def test_a_leg_that_is_begun_again_is_counted_as_that(owner: Caller, begin: Begin) -> None:
    prompt(owner, 1)
    lease_release(fence=begin())
    waits, before = sample("gateway_queue_seconds_count"), sample("gateway_legs_retried_total")
    begin()
    assert sample("gateway_legs_retried_total") - before == 1
    assert sample("gateway_queue_seconds_count") == waits


def test_a_write_under_a_lost_lease_is_counted(owner: Caller, session: AgentSession, begin: Begin) -> None:
    prompt(owner, 1)
    fence = begin()
    lease_release(fence=fence)
    before = sample("gateway_fenced_writes_total")
    with pytest.raises(LeaseLost), write_transaction():
        log.lock_fenced(fence)
    with pytest.raises(LeaseLost):
        log.append(session.stream_id, [AgentStart(model="demo:echo")], fence=fence)
    assert sample("gateway_fenced_writes_total") - before == 2
