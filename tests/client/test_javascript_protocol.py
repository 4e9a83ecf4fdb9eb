"""The JavaScript client's declarations beside the gateway's own events, results and errors."""

from __future__ import annotations

import re
from typing import Any

import pytest

from faces.mesh import schemas
from gateway_client.errors import BY_CODE
from gateway_project.openapi import document
from sessions_app.events import SESSION_EVENTS
from tests.client.node import PACKAGE

EVENTS = (PACKAGE / "types/events.d.ts").read_text(encoding="utf-8")
RESULTS = (PACKAGE / "types/results.d.ts").read_text(encoding="utf-8")
ERRORS = (PACKAGE / "src/errors.js").read_text(encoding="utf-8")

FIELD = re.compile(r"(\w+)\??:")
COMMON = {"requestId", "at"}
"""Fields of all events."""

NATIVE = {
    "SessionInfo": "Session",
    "TokenUsage": "TokenUsage",
    "LastMessage": "LastMessage",
    "RunError": "RunError",
    "ProviderWaiting": "ProviderWaiting",
    "RunInfo": "Run",
    "Message": "Message",
    "MessageCall": "MessageCall",
    "PromptReceipt": "PromptReceipt",
    "Stats": "Stats",
    "PendingApproval": "PendingApproval",
    "PendingQuestion": "PendingQuestion",
    "PendingTool": "PendingTool",
    "Status": "Status",
    "StreamToken": "StreamToken",
    "ToolInfo": "Tool",
    "UsageRow": "UsageRow",
}
"""Interfaces by the schema in the OpenAPI document."""

MESH: dict[str, dict[str, Any]] = {
    "TaskSummary": schemas.TASK_SUMMARY,
    "Task": schemas.TASK,
    "Space": schemas.SPACE,
    "SpaceMessage": schemas.MESSAGE,
    "Artifact": schemas.ARTIFACT,
    "SearchResult": schemas.RESULTS["properties"]["results"]["items"],
    "Agent": schemas.AGENT,
}
OWN = {"RunResult"}
"""What the client puts together itself."""


def interfaces() -> dict[str, dict[str, bool]]:
    """The fields of each interface, and whether they are always there."""
    found: dict[str, dict[str, bool]] = {}
    for name, base, body in re.findall(
        r"^export interface (\w+)(?: extends (\w+))? \{\n(.*?)^\}", RESULTS, re.DOTALL | re.MULTILINE
    ):
        own = {field: not optional for field, optional in re.findall(r"^  (\w+)(\??):", body, re.MULTILINE)}
        found[name] = found.get(base, {}) | own
    return found


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def test_every_result_is_compared() -> None:
    assert set(interfaces()) == {*NATIVE, *MESH, *OWN}


@pytest.mark.parametrize("name", [*NATIVE, *MESH])
def test_a_result_has_exactly_the_documented_fields(name: str) -> None:
    schema = MESH.get(name) or document()["components"]["schemas"][NATIVE[name]]
    expected = {camel(field): field in schema.get("required", ()) for field in schema["properties"]}
    assert interfaces()[name] == expected


def declared_events() -> dict[str, set[str]]:
    """The fields of each event's data."""
    shortened = {
        name: set(FIELD.findall(body))
        for name, body in re.findall(r"^type (\w+) = .*?\{(.*?)\};", EVENTS, re.MULTILINE)
    }
    shortened["ToolCallArgs"] |= shortened["ToolCall"]
    found = {}
    for name, rest in re.findall(r'EventOf<\s*"(\w+)"(.*?)>(?=;|$|\n)', EVENTS, re.DOTALL):
        nested = re.sub(r"(?<=: )\{[^{}]*\}", "", rest)
        used = [fields for alias, fields in shortened.items() if re.search(rf"\b{alias}\b", nested)]
        found[name] = set(FIELD.findall(nested)).union(*used)
    return found


def test_every_event_of_the_gateway_is_declared_with_its_fields() -> None:
    declared = declared_events()
    assert set(declared) == set(SESSION_EVENTS.events) | {"events_dropped"}
    for kind in SESSION_EVENTS.events.values():
        names = set(dict(SESSION_EVENTS.wire_names(kind)).values()) - COMMON
        assert declared[kind.type] == names, kind.type


def test_the_same_codes_have_classes_in_both_clients() -> None:
    codes = dict(re.findall(r'class (\w+) extends \w+ \{\n  static code = "(\w+)"', ERRORS))
    codes.pop("APIError")
    assert {name: kind.code for kind in BY_CODE.values() for name in [kind.__name__]} == codes
