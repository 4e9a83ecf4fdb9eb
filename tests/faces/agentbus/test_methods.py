"""Every method of the protocol over a real socket: its payload, its scope, and every fault of its parameters."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from core_app import database
from faces.agentbus.methods import METHODS
from faces.agentbus.methods.chat import MAX_MESSAGE
from faces.agentbus.methods.events import MAX_PAYLOAD
from tenants_app.models import Tenant
from tenants_app.roles import ROLES, VIEWER
from tests.conftest import Caller
from tests.conftest import caller as caller_of
from tests.faces.agentbus.bus_client import BusClient, signed_in
from tests.faces.agentbus.fake_device import FakeDevice
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client

pytestmark = pytest.mark.django_db(transaction=True)

KEY = FakeDevice().public_key
SESSION = {"session_id", "message_count", "created_at", "updated_at", "state"}
SHOWN = SESSION | {"client_id", "id", "title", "last_activity", "is_active", "current_agent"}
DEVICE = {"device_id", "public_key", "status", "created_at", "last_used_at"}


@dataclass(frozen=True)
class Row:
    """A row of the protocol's table. `payload` has the fields of the answer, and of the first object in a list or an
    object of it; `faults` are changes of the parameters that are refused with 4000, with the field at fault."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    payload: Mapping[str, set[str] | None] = field(default_factory=dict)
    scope: str | None = None
    faults: tuple[tuple[Mapping[str, Any], str], ...] = ()
    unknown: Mapping[str, Any] | None = None
    """Changes that name something that is not there: 4004."""


def plain(*names: str) -> dict[str, set[str] | None]:
    return dict.fromkeys(names)


LIMITS = tuple(({"limit": limit}, "limit") for limit in (0, -1, 201))
NONE = {"session_id": "none"}
ROWS = (
    Row("disconnect", payload=plain("status")),
    Row("heartbeat", payload=plain("status", "timestamp")),
    Row("system.info", payload=plain("name", "version", "protocol_version", "capabilities")),
    Row(
        "system.status",
        payload=plain("status", "uptime", "connections", "memory_usage", "sessions", "active_runs"),
    ),
    Row(
        "chat.send",
        {"session_id": "new", "message": "hello", "model": "demo:echo", "type": "text"},
        plain("run_id", "status", "message_id"),
        "sessions",
        (
            ({"message": " \n"}, "message"),
            ({"message": ""}, "message"),
            ({"message": "x" * (MAX_MESSAGE + 1)}, "message"),
            ({"session_id": "a b"}, "session_id"),
            ({"session_id": ""}, "session_id"),
            ({"model": "none:such"}, "model"),
            ({"agent": "none"}, "agent"),
        ),
    ),
    Row(
        "chat.history",
        {"session_id": "old", "limit": 1},
        {"session_id": None, "messages": {"message_id", "role", "content", "timestamp", "metadata"}, "total": None},
        "sessions:read",
        tuple(({"limit": limit}, "limit") for limit in (0, -1, 1001)),
    ),
    Row("chat.abort", {"run_id": "$run"}, plain("run_id", "status"), "sessions", unknown={"run_id": "run_none"}),
    Row(
        "chat.approve",
        {"session_id": "approves", "approval_id": "$approval", "comment": "ok"},
        plain("approval_id", "status"),
        "approvals",
        unknown=NONE,
    ),
    Row(
        "chat.reject",
        {"session_id": "approves", "approval_id": "$approval", "reason": "no"},
        plain("approval_id", "status"),
        "approvals",
        unknown={"approval_id": "apr_none"},
    ),
    Row(
        "chat.respond",
        {"session_id": "asks", "ref": "$ref", "response": "Yes"},
        plain("ref", "status"),
        "questions",
        unknown={"ref": "none"},
    ),
    Row(
        "chat.sessions.list",
        payload={"total_sessions": None, "active_runs": None, "sessions": SESSION},
        scope="sessions:read",
        faults=LIMITS,
    ),
    Row(
        "chat.sessions.create",
        {"session_id": "made", "model": "demo:echo"},
        plain("session_id", "created_at"),
        "sessions",
        (({"session_id": "a b"}, "session_id"), ({"model": "none:such"}, "model"), ({"agent": "none"}, "agent")),
    ),
    Row("chat.sessions.delete", {"session_id": "old"}, plain("session_id", "status"), "sessions", unknown=NONE),
    Row("sessions.list", payload={"sessions": SHOWN}, scope="sessions:read", faults=LIMITS),
    Row("sessions.get", {"session_id": "old"}, {"session": SHOWN}, "sessions:read", unknown=NONE),
    Row("sessions.delete", {"session_id": "old"}, plain("status"), "sessions", unknown=NONE),
    Row(
        "devices.register",
        {"device_id": "phone", "public_key": KEY},
        {"device": DEVICE},
        "admin",
        (
            ({"device_id": ""}, "device_id"),
            ({"device_id": "a b"}, "device_id"),
            ({"device_id": "x" * 129}, "device_id"),
            ({"public_key": ""}, "public_key"),
            ({"public_key": "A" * 40}, "public_key"),
            ({"public_key": "ssh-rsa AAAA"}, "public_key"),
            ({"public_key": "x" * 1001}, "public_key"),
        ),
    ),
    Row("devices.list", payload={"devices": DEVICE}, scope="admin"),
    Row(
        "devices.revoke",
        {"device_id": "laptop"},
        plain("device_id", "status"),
        "admin",
        unknown={"device_id": "none"},
    ),
    Row(
        "events.follow",
        {"session_id": "old", "since": 0},
        plain("session_id", "status"),
        "sessions:read",
        (({"since": -1}, "since"), ({"since": "x"}, "since")),
        unknown=NONE,
    ),
    Row("events.unfollow", {"session_id": "old"}, plain("session_id", "status"), "sessions:read", unknown=NONE),
    Row(
        "events.broadcast",
        {"event": "build.done", "payload": {"ok": True}, "capability": "paint"},
        plain("status"),
        "admin",
        (
            ({"event": ""}, "event"),
            ({"event": "a b"}, "event"),
            ({"event": "x" * 65}, "event"),
            ({"event": "chat.stream"}, "event"),
            ({"event": "session.event"}, "event"),
            ({"event": "presence.update"}, "event"),
            ({"event": "connect.challenge"}, "event"),
            ({"event": "heartbeat"}, "event"),
            ({"event": "disconnect"}, "event"),
            ({"event": "shutdown"}, "event"),
            ({"payload": {"x": "y" * MAX_PAYLOAD}}, "payload"),
        ),
    ),
    Row(
        "presence.list",
        payload={
            "clients": {
                "client_id",
                "client_name",
                "platform",
                "version",
                "capabilities",
                "connected_at",
                "last_activity",
                "state",
            }
        },
    ),
    Row(
        "auth.revoke",
        {"session_id": "$token"},
        plain("session_id", "status"),
        unknown={"session_id": "agc_" + "x" * 43},
    ),
)


@dataclass
class Prepared:
    """A client, and what the placeholders of the rows stand for."""

    client: BusClient
    server: LiveServer
    values: dict[str, Any]

    def params(self, row: Row, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns the parameters of a row, with its placeholders filled in."""
        return {name: self.values.get(str(value), value) for name, value in {**row.params, **(changes or {})}.items()}


@pytest_asyncio.fixture
async def prepared(server: LiveServer, owner: Caller, api: Client) -> AsyncIterator[Prepared]:
    """A session with a history, one with a run that waits for an approval, one that waits for an answer, a device."""
    async with signed_in(server.port, owner.secret, client_id="me") as client:
        token = client.frames[-1]["payload"]["auth_info"]["session_id"]
        await api.post("/v1/sessions", {"sessionId": "old", "model": "demo:echo"})
        await api.run("old", "before")
        await client.call("devices.register", device_id="laptop", public_key=FakeDevice("laptop").public_key)
        await client.call("chat.send", session_id="approves", message="approve", model="demo:tour")
        approval = await client.event("chat.approval")
        asked = await client.call("chat.send", session_id="asks", message="ask", model="demo:tour")
        question = await client.event("chat.question")
        values = {
            "$token": token,
            "$approval": approval["approval_id"],
            "$ref": question["ref"],
            "$run": asked["run_id"],
        }
        yield Prepared(client, server, values)


def camel(name: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def named(row: Row) -> str:
    return row.method


def test_every_method_has_its_row() -> None:
    assert {row.method for row in ROWS} | {"connect"} == set(METHODS)
    assert len(ROWS) == len({row.method for row in ROWS})
    for row in ROWS:
        assert METHODS[row.method].scope == row.scope, row.method


@pytest.mark.parametrize("spelling", [str, camel])
@pytest.mark.parametrize("row", ROWS, ids=named)
async def test_a_method_answers_with_its_payload(prepared: Prepared, row: Row, spelling: Any) -> None:
    params = {spelling(name): value for name, value in prepared.params(row).items()}
    payload = await prepared.client.call(row.method, **params)
    assert set(payload) == set(row.payload)
    for name, fields in row.payload.items():
        if fields is not None:
            shown = payload[name]
            assert set(shown[0] if isinstance(shown, list) else shown) == fields


@pytest.mark.parametrize("row", [row for row in ROWS if row.params], ids=named)
async def test_every_parameter_of_a_wrong_type_and_every_missing_one_is_named(prepared: Prepared, row: Row) -> None:
    struct = METHODS[row.method].shape
    for parameter in msgspec.structs.fields(struct):
        wrong: Any = "text" if "dict" in str(parameter.type) else {"an": "object"}
        response = await prepared.client.request(row.method, **{**prepared.params(row), parameter.name: wrong})
        assert not response["ok"], (row.method, parameter.name)
        error = response["error"]
        assert (error["code"], error["details"]["field"]) == (4000, parameter.name), (row.method, parameter.name)
        if parameter.required:
            params = {name: value for name, value in prepared.params(row).items() if name != parameter.name}
            error = (await prepared.client.request(row.method, **params))["error"]
            assert (error["code"], error["details"]["field"]) == (4000, parameter.name)
    response = await prepared.client.request(row.method, **dict.fromkeys(row.params))
    required = [parameter.name for parameter in msgspec.structs.fields(struct) if parameter.required]
    if required:
        assert response["error"]["code"] == 4000


@pytest.mark.parametrize(
    ("row", "changes", "at_fault"),
    [(row, changes, at_fault) for row in ROWS for changes, at_fault in row.faults],
    ids=lambda value: value.method if isinstance(value, Row) else str(value)[:40],
)
async def test_a_value_that_cannot_be_used_is_refused_with_its_field(
    prepared: Prepared, row: Row, changes: Mapping[str, Any], at_fault: str
) -> None:
    response = await prepared.client.request(row.method, **prepared.params(row, changes))
    assert not response["ok"]
    assert (response["error"]["code"], response["error"]["details"].get("field")) == (4000, at_fault)


@pytest.mark.parametrize("row", [row for row in ROWS if row.scope is not None], ids=named)
async def test_a_caller_without_the_scope_is_refused(prepared: Prepared, row: Row, tenant: Tenant) -> None:
    other = await database.run(caller_of, tenant, ["inference"])
    async with signed_in(prepared.server.port, other.secret, client_id="other") as client:
        assert await client.refused(row.method, **prepared.params(row)) == 4003


READING = {"chat.history", "chat.sessions.list", "events.follow", "events.unfollow", "sessions.get", "sessions.list"}
ANYBODYS = {"auth.revoke", "disconnect", "heartbeat", "presence.list", "system.info", "system.status"}


async def test_a_reader_reads_and_never_acts(prepared: Prepared, tenant: Tenant) -> None:
    other = await database.run(caller_of, tenant, sorted(ROLES[VIEWER]))
    async with signed_in(prepared.server.port, other.secret, client_id="other") as client:
        for row in ROWS:
            if row.method in READING:
                assert (await client.request(row.method, **prepared.params(row)))["ok"], row.method
            elif row.method not in ANYBODYS:
                assert await client.refused(row.method, **prepared.params(row)) == 4003, row.method


@pytest.mark.parametrize("row", [row for row in ROWS if row.unknown is not None], ids=named)
async def test_what_is_not_there_and_what_is_anothers_are_answered_alike(
    prepared: Prepared, row: Row, stranger: Caller
) -> None:
    assert await prepared.client.refused(row.method, **prepared.params(row, row.unknown)) == 4004
    async with signed_in(prepared.server.port, stranger.secret, client_id="foreign") as client:
        foreign = (await client.request(row.method, **prepared.params(row)))["error"]
        nowhere = (await client.request(row.method, **prepared.params(row, row.unknown)))["error"]
    assert foreign["code"] == nowhere["code"] == 4004
    names = [re.sub(r"'[^']*'", "'…'", error["message"]) for error in (foreign, nowhere)]
    assert names[0] == names[1]


async def test_a_parameter_in_both_spellings_is_refused(prepared: Prepared) -> None:
    response = await prepared.client.request("sessions.get", session_id="old", sessionId="new")
    assert (response["error"]["code"], response["error"]["details"]["field"]) == (4000, "session_id")


async def test_parameters_that_no_method_knows_are_ignored(prepared: Prepared) -> None:
    for row in ROWS:
        if row.method not in ("disconnect", "chat.abort", "auth.revoke"):
            response = await prepared.client.request(row.method, **prepared.params(row), of_a_later_version=1)
            assert response["ok"] or response["error"]["code"] in (4004, 4009), row.method
