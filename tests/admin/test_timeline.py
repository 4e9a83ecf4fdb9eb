"""The timeline of a run: what took how long, from its events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from sessions_app.admin.timeline import duration, spans_of
from sessions_app.models import Run, RunState
from tests.admin.conftest import Waiting, person, root, waiting

__all__ = ["person", "root", "waiting"]

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


def event(kind: str, seconds: float, **data: Any) -> tuple[str, dict[str, Any]]:
    return kind, {**data, "at": at(seconds)}


def shown(events: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, str, float, float | None]]:
    """The spans with the seconds of their beginnings and ends."""
    return [
        (
            span.kind,
            span.name,
            (span.start - BEGIN).total_seconds(),
            None if span.end is None else (span.end - BEGIN).total_seconds(),
        )
        for span in spans_of(events)
    ]


def test_model_calls_tools_and_waits_follow_each_other() -> None:
    call = {"callId": "c", "toolName": "refund"}
    events = [
        event("agent_start", 0, model="demo:tour"),
        event("message_start", 1),
        event("message_end", 2),
        event("tool_calls", 2.5, count=1),
        event("approval_required", 2.5, approvalId="a", **call),
        event("approval_resolved", 62.5, approvalId="a", status="approved", by="user:ann"),
        event("tool_execution_start", 63, **call),
        event("tool_execution_end", 64, status="ok", **call),
        event("message_start", 66),
        event("message_end", 67),
        event("agent_end", 67),
    ]
    assert shown(events) == [
        ("model", "demo:tour", 0, 2.5),
        ("approval", "refund", 2.5, 62.5),
        ("tool", "refund", 63, 64),
        ("model", "demo:tour", 64, 67),
    ]
    assert [span.note for span in spans_of(events)] == ["1 tool calls", "approved by user:ann", "ok", ""]


def test_what_has_not_ended_is_open() -> None:
    events = [event("agent_start", 0, model="m"), event("ask_user", 1, ref="r", question="Which?")]
    assert shown(events) == [("question", "Which?", 1, None)]


def test_an_attempt_that_follows_ends_what_was_lost() -> None:
    events = [
        event("agent_start", 0, model="m"),
        event("tool_execution_start", 1, callId="c", toolName="t"),
        event("run_retried", 9, attempt=2, reason="worker_lost"),
        event("message_start", 10),
    ]
    assert shown(events) == [("tool", "t", 1, 9), ("retry", "attempt 2", 9, 9), ("model", "m", 9, 10)]


def test_a_model_call_without_a_response_shows_its_error() -> None:
    events = [event("agent_start", 0, model="m"), event("error", 2, code="upstream_error"), event("agent_abort", 2)]
    assert shown(events) == [("model", "m", 0, 2)]
    assert spans_of(events)[0].note == "upstream_error"


def test_events_without_a_time_are_left_out() -> None:
    assert spans_of([("agent_start", {}), ("message_start", {"at": "2026-02-31T00:00:00Z"})]) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 ms"), (0.25, "250 ms"), (12.34, "12.3 s"), (75, "1 min 15 s"), (3700, "1 h 1 min")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.django_db
def test_a_decision_has_the_users_words_and_the_tool_in_view(root: Client, waiting: Waiting) -> None:
    Run.objects.filter(pk=waiting.run.pk).update(text="please refund <b>4711</b>", end_user="ann")
    page = root.get(f"/admin/tools_app/toolcall/{waiting.approval.pk}/change/").content.decode()
    asked = root.post(
        "/admin/tools_app/toolcall/", {"action": "approve", "_selected_action": [waiting.approval.pk]}
    ).content.decode()
    for text in (page, asked):
        assert "please refund &lt;b&gt;4711&lt;/b&gt;" in text
        assert "ann" in text
        assert "The tool" in text
    assert f"/admin/sessions_app/agentsession/{waiting.session.pk}/change/" in asked


@pytest.mark.django_db
def test_a_session_whose_last_run_failed_says_so(root: Client, waiting: Waiting) -> None:
    page = "/admin/sessions_app/agentsession/"
    assert "state-failed" not in root.get(page).content.decode()
    ended = {"ended_at": BEGIN, "last_offset": 1, "error_code": "upstream_error", "error_reason": "It <failed>."}
    Run.objects.filter(pk=waiting.run.pk).update(state=RunState.FAILED, first_offset=0, **ended)
    type(waiting.session).objects.filter(pk=waiting.session.pk).update(state="idle")
    assert "upstream_error" in root.get(page).content.decode()
    text = root.get(f"{page}{waiting.session.pk}/change/").content.decode()
    assert "It &lt;failed&gt;." in text
    assert "state-failed" in text
    Run.objects.create(
        tenant=waiting.session.tenant, session=waiting.session, number=waiting.run.number + 1, text="again"
    )
    assert "The last run failed" not in root.get(f"{page}{waiting.session.pk}/change/").content.decode()


@pytest.mark.django_db
def test_a_webhook_that_fails_says_so(root: Client, waiting: Waiting) -> None:
    from events_app.webhooks.models import WebhookDelivery, WebhookEndpoint

    hook = WebhookEndpoint.objects.create(
        tenant=waiting.session.tenant, url="https://example.com/", secret="x", events=["agent_end"]
    )
    page = "/admin/events_app/webhookendpoint/"
    assert "state-enabled" in root.get(page).content.decode()
    WebhookDelivery.objects.create(endpoint=hook, type="test", due_at=0, attempts=3, last_error="unreachable")
    text = root.get(page).content.decode()
    assert "state-failing" in text
    assert "unreachable, 3 attempts" in text
    WebhookDelivery.objects.create(endpoint=hook, type="test", state="delivered", attempts=1, settled_at=BEGIN)
    assert "state-delivering" in root.get(page).content.decode()
