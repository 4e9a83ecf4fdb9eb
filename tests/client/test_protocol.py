"""The client's types beside the gateway's own: every event, error and result, and where requests go."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from django.conf import settings

from gateway_client import errors, results
from gateway_client.events import EVENT_TYPES, TERMINAL_TYPES, Event, EventsDropped
from gateway_project.openapi import document
from sessions_app import events as gateway_events
from sessions_app.events import SESSION_EVENTS

SHAPES: dict[type[results.Result], str] = {
    results.SessionInfo: "Session",
    results.SessionPage: "SessionPage",
    results.TokenUsage: "TokenUsage",
    results.LastMessage: "LastMessage",
    results.RunError: "RunError",
    results.RunInfo: "Run",
    results.RunPage: "RunPage",
    results.Message: "Message",
    results.MessageCall: "MessageCall",
    results.MessagePage: "MessagePage",
    results.PromptReceipt: "PromptReceipt",
    results.Stats: "Stats",
    results.PendingApproval: "PendingApproval",
    results.PendingQuestion: "PendingQuestion",
    results.PendingTool: "PendingTool",
    results.Status: "Status",
    results.ToolInfo: "Tool",
    results.UsageRow: "UsageRow",
}
OWN = {results.RunResult}
"""Results that the client puts together itself."""


def test_every_result_is_compared() -> None:
    declared = {each for each in vars(results).values() if isinstance(each, type) and issubclass(each, results.Result)}
    assert declared - OWN - {results.Result} == set(SHAPES)


@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
def test_a_result_has_fields_that_the_gateway_documents(kind: type[results.Result]) -> None:
    schema: dict[str, Any] = document()["components"]["schemas"][SHAPES[kind]]
    fields = msgspec.structs.fields(kind)
    assert {field.encode_name for field in fields} <= set(schema["properties"])
    demanded = {field.encode_name for field in fields if field.required}
    assert demanded <= set(schema["required"])


def test_every_event_of_the_gateway_is_typed_with_its_fields() -> None:
    for kind in SESSION_EVENTS.events.values():
        names = dict(SESSION_EVENTS.wire_names(kind)).values()
        ours = EVENT_TYPES[kind.type]
        data = {name: object() for name in names}
        event = ours(kind.type, data, "1")
        read = {id(getattr(event, name)) for name in ours.__annotations__ if name != "kind"}
        missing = {name for name, value in data.items() if id(value) not in read}
        assert missing <= ({"data"} if kind.type == "agent_event" else set())
    assert set(EVENT_TYPES) == set(SESSION_EVENTS.events) | {EventsDropped.kind}
    assert TERMINAL_TYPES == gateway_events.TERMINAL_TYPES


def test_an_unknown_event_is_passed_on() -> None:
    event = Event("new_kind", {"a": 1}, "7")
    assert (event.type, event.data, event.request_id, event.is_terminal) == ("new_kind", {"a": 1}, None, False)


def test_every_documented_code_has_its_error() -> None:
    page = (settings.BASE_DIR / "docs/protocol-native.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \| \d", page, re.MULTILINE)
    assert {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)} == set(errors.BY_CODE)


def test_a_response_of_a_proxy_is_judged_by_its_status() -> None:
    error = errors.error_from_response(503, None, 2.0)
    assert isinstance(error, errors.Unavailable)
    assert (error.retry_after, error.status) == (2.0, 503)
    assert type(errors.error_from_response(418, {"error": "teapot", "message": "no"})) is errors.APIError
