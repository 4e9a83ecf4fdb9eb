"""The state of runs and webhooks as operators see it, of one tenant or of all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core_app import clock
from edge_app.http.errors import internal_error
from edge_app.http.recent_errors import KEPT, RECENT_ERRORS
from events_app.webhooks.models import DeliveryState, WebhookDelivery, WebhookEndpoint
from events_app.webhooks.selectors import deliveries_failed, deliveries_pending
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.operations import leg_owners, run_counts, run_failures, run_oldest
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from tests.conftest import Caller

pytestmark = pytest.mark.django_db


def run_made(caller: Caller) -> Run:
    session = session_create(principal=caller.principal, request=SessionRequest(model="demo:tour"))
    receipt = prompt_accept(principal=caller.principal, public_id=session.public_id, prompt=Prompt(text="hello"))
    return Run.objects.get(pk=receipt.run_pk)


def failed(caller: Caller, reason: str) -> Run:
    run = run_made(caller)
    Run.objects.filter(pk=run.pk).update(
        state=RunState.FAILED, ended_at=clock.now(), last_offset=9, error_code="upstream_error", error_reason=reason
    )
    return run


def test_runs_are_counted_for_a_tenant_or_for_all(owner: Caller, stranger: Caller) -> None:
    mine, _ = run_made(owner), run_made(stranger)
    tenant_id = owner.principal.tenant_id
    assert run_counts(tenant_id) == {"running": 0, "queued": 1, "ready": 0, "waiting": 0}
    assert run_counts(None)["queued"] == 2
    assert run_oldest(tenant_id) == mine.created_at
    Run.objects.filter(pk=mine.pk).update(state=RunState.RUNNING)
    assert run_oldest(tenant_id) is None


def test_failures_of_other_tenants_are_shown_to_the_gateways_operator_alone(owner: Caller, stranger: Caller) -> None:
    mine, theirs = failed(owner, "here \u202e"), failed(stranger, "there")
    [shown] = run_failures(owner.principal.tenant_id, 10)
    assert (shown.run_id, shown.code, shown.reason) == (mine.pk, "upstream_error", "here \\u202e")
    assert {failure.run_id for failure in run_failures(None, 10)} == {mine.pk, theirs.pk}
    Run.objects.filter(pk=mine.pk).update(ended_at=clock.now() - timedelta(days=8))
    assert run_failures(owner.principal.tenant_id, 10) == []


def test_processes_are_named_with_their_runs_and_whether_their_lease_is_alive(owner: Caller) -> None:
    for name, expires in (("host:1", clock.now().timestamp() + 60), ("host:2", 1.0)):
        run = run_made(owner)
        Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
        stream = AgentSession.objects.select_related("stream").get(pk=run.session_id).stream
        stream.owner, stream.lease_expires = name, expires
        stream.save()
    assert [(one.name, one.runs, one.alive) for one in leg_owners()] == [("host:1", 1, True), ("host:2", 1, False)]


def test_deliveries_of_other_tenants_are_not_counted(owner: Caller, stranger: Caller) -> None:
    for caller in (owner, stranger):
        endpoint = WebhookEndpoint.objects.create(
            tenant_id=caller.principal.tenant_id, url="https://example.com", secret=""
        )
        WebhookDelivery.objects.create(endpoint=endpoint, type="agent_end", due_at=1.0)
        WebhookDelivery.objects.create(
            endpoint=endpoint, type="agent_end", state=DeliveryState.DEAD, settled_at=clock.now(), last_status=500
        )
    tenant_id = owner.principal.tenant_id
    assert (deliveries_pending(tenant_id), deliveries_pending(None)) == (1, 2)
    assert [one.endpoint.tenant_id for one in deliveries_failed(tenant_id, 10)] == [tenant_id]
    assert len(deliveries_failed(None, 10)) == 2
    assert len(deliveries_failed(None, 1)) == 1


def test_internal_errors_are_kept_by_their_ids_and_bounded() -> None:
    errors = [internal_error(ValueError("a secret of a request")) for _ in range(KEPT + 1)]
    newest = RECENT_ERRORS.newest(KEPT + 10)
    assert len(newest) == KEPT
    assert newest[0].error_id == errors[-1].error_id  # type: ignore[attr-defined]
    assert newest[0].kind == "ValueError"
    assert "secret" not in repr(newest)
