"""The directory of agents: what a tenant sees, who may register what, and where a status comes from."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from agents_app.agent_load import LOAD
from agents_app.directory import (
    AgentInfo,
    agent_changes_subscribe,
    agent_find,
    agent_heartbeat,
    agent_register,
    agent_unregister,
    agent_update,
    agents_visible,
)
from agents_app.directory.checks import AGENT_CHECKS
from agents_app.directory.entries import AGENTS
from agents_app.models import Agent, AgentState
from agents_app.registry import agent_resolve
from core_app import clock
from core_app.errors import BadRequest, Conflict, Forbidden, GatewayError, NotFound, QuotaExceeded, Unprocessable
from core_app.guarded_client import CLIENT
from tenants_app.models import AuditEntry, Tenant
from tenants_app.principal import PLATFORM, TENANT_SCOPES, Principal

pytestmark = pytest.mark.django_db(transaction=True)

PUBLIC = "https://agents.example.com/run"


def principal_of(slug: str, *scopes: str) -> Principal:
    tenant, _ = Tenant.objects.get_or_create(slug=slug, defaults={"name": slug})
    return Principal(tenant.pk, slug, None, "k", frozenset((*TENANT_SCOPES, *scopes)))


@pytest.fixture
def acme(transactional_db: None) -> Principal:
    return principal_of("acme")


@pytest.fixture
def operator(acme: Principal) -> Principal:
    """A caller of the same tenant who operates the whole gateway."""
    return replace(acme, scopes=acme.scopes | {PLATFORM})


@pytest.fixture
def other(transactional_db: None) -> Principal:
    return principal_of("other")


@pytest.fixture
def configure(settings: Any, tmp_path: Path) -> Callable[[str], None]:
    """Sets the section `agents:` of the configuration file."""
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_AGENT_CHECK_SECONDS = 15

    def write(agents: str) -> None:
        settings.GATEWAY_CONFIG.write_text(f"agents: {agents}\n", encoding="utf-8")
        AGENTS.forget()

    write("[{id: house, name: House, type: model, model: 'demo:tour', capabilities: [tours]}]")
    return write


@pytest.fixture(autouse=True)
def default_file(configure: Callable[[str], None]) -> None:
    """Every test has a file of its own."""


class Server:
    """An HTTP server on a thread, which answers every request and counts them."""

    def __init__(self) -> None:
        self.requests = 0
        counter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                counter.requests += 1
                self.send_response(405)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Says nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/run"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@pytest.fixture
def http_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def told() -> Iterator[list[tuple[int | None, str, str, str]]]:
    """The changes that listeners were told: tenant, kind, id and status."""
    changes: list[tuple[int | None, str, str, str]] = []

    def listen(tenant_id: int | None, kind: str, info: AgentInfo) -> None:
        changes.append((tenant_id, kind, info.id, info.status))

    unsubscribe = agent_changes_subscribe(listen)
    yield changes
    unsubscribe()


def register(principal: Principal, agent_id: str = "helper", **fields: Any) -> AgentInfo:
    return agent_register(principal, **{"id": agent_id, "type": "http", "endpoint": PUBLIC, **fields})


def ids(principal: Principal) -> list[str]:
    return [agent.id for agent in agents_visible(principal)]


def check() -> None:
    """Runs one round of the checks, as the process does."""
    AgentState.objects.update(due_at=clock.now())
    asyncio.run(_round())


async def _round() -> None:
    try:
        await AGENT_CHECKS.check()
    finally:
        await CLIENT.stop()


def test_a_registered_agent_is_its_tenants_alone(acme: Principal, other: Principal) -> None:
    info = register(acme, name="Helper", capabilities=["help", "help"], tools=["current_time"], timeout=5)
    assert agent_find(acme, "helper") == info
    assert (info.name, info.capabilities, info.source, info.timeout) == ("Helper", ("help",), "tenant", 5.0)
    assert ids(acme) == ["helper", "house"]
    assert ids(other) == ["house"]
    for refused in (
        lambda: agent_find(other, "helper"),
        lambda: agent_update(other, "helper", name="mine"),
        lambda: agent_unregister(other, "helper"),
        lambda: agent_heartbeat(other, "helper"),
    ):
        with pytest.raises(NotFound):
            refused()
    with pytest.raises(Unprocessable):
        agent_resolve("helper", principal=other)
    assert agent_resolve("helper", principal=acme).name == "http:helper"


def test_a_registration_replaces_the_one_before_it_whole(acme: Principal) -> None:
    register(acme, name="First", capabilities=["help"])
    register(acme, type="model", endpoint=None, model="demo:echo")
    info = agent_find(acme, "helper")
    assert (info.type, info.name, info.capabilities, info.endpoint) == ("model", "helper", (), None)
    assert agent_resolve("helper", principal=acme).name == "demo:echo"
    assert Agent.objects.count() == 1


def test_a_change_leaves_what_it_does_not_name(acme: Principal) -> None:
    register(acme, name="First", capabilities=["help"])
    assert agent_update(acme, "helper", name="Second").capabilities == ("help",)
    agent_update(acme, "helper", enabled=False)
    assert ids(acme) == ["house"]
    agent_update(acme, "helper", enabled=True)
    assert agent_find(acme, "helper").name == "Second"
    agent_unregister(acme, "helper")
    assert ids(acme) == ["house"]
    assert AgentState.objects.count() == 0
    acts = AuditEntry.objects.filter(tenant_id=acme.tenant_id).order_by("pk").values_list("action", flat=True)
    assert list(acts) == ["agent.register", "agent.update", "agent.update", "agent.update", "agent.unregister"]


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"agent_id": "no id"}, BadRequest, "id"),
        ({"agent_id": "gateway"}, BadRequest, "id"),
        ({"agent_id": "x" * 65}, BadRequest, "id"),
        ({"agent_id": "house"}, Conflict, "id"),
        ({"type": "teapot"}, BadRequest, "type"),
        ({"type": "demo"}, BadRequest, "type"),
        ({"endpoint": None}, BadRequest, "endpoint"),
        ({"endpoint": 5}, BadRequest, "endpoint"),
        ({"capabilities": "help"}, BadRequest, "capabilities"),
        ({"capabilities": [""]}, BadRequest, "capabilities"),
        ({"tools": ["rm"]}, BadRequest, "tools"),
        ({"timeout": -1}, BadRequest, "timeout"),
        ({"timeout": True}, BadRequest, "timeout"),
        ({"timeout": float("nan")}, BadRequest, "timeout"),
        ({"shell": "sh"}, BadRequest, "shell"),
        ({"name": "x" * 201}, BadRequest, "name"),
    ],
)
def test_what_cannot_be_an_agent_is_refused_by_its_field(
    acme: Principal, fields: dict[str, Any], error: type[GatewayError], field: str
) -> None:
    with pytest.raises(error) as refused:
        register(acme, **fields)
    assert refused.value.field == field
    assert not Agent.objects.exists()


@pytest.mark.parametrize("kind", ["process", "acp", "claude-code", "openclaw"])
def test_programs_are_registered_by_the_operator_alone(acme: Principal, operator: Principal, kind: str) -> None:
    with pytest.raises(Forbidden):
        register(acme, type=kind, endpoint=None, command="sh")
    register(operator, type=kind, endpoint=None, command="sh", args=["-c", "true"])
    assert agent_resolve("helper", principal=acme).engine == kind
    for refused in (
        lambda: register(acme),
        lambda: agent_update(acme, "helper", name="mine"),
        lambda: agent_unregister(acme, "helper"),
    ):
        with pytest.raises(Forbidden):
            refused()


def test_a_tenants_agent_does_not_become_a_program_by_a_change(acme: Principal) -> None:
    register(acme)
    for fields in ({"type": "process", "command": "sh"}, {"type": "claude-code"}):
        with pytest.raises(Forbidden):
            agent_update(acme, "helper", **fields)
    assert agent_find(acme, "helper").type == "http"


def test_a_tenant_gives_no_agent_a_command(acme: Principal, operator: Principal) -> None:
    for fields in ({"type": "http"}, {"type": "model", "endpoint": None, "model": "demo:echo"}):
        with pytest.raises(Forbidden):
            register(acme, **fields, command="sh")
    register(acme)
    with pytest.raises(Forbidden):
        agent_update(acme, "helper", command="sh")
    register(operator, type="process", command="sh")


def test_a_process_behind_an_address_is_an_http_agent(acme: Principal) -> None:
    assert register(acme, type="process").type == "http"


def test_the_scope_is_needed(acme: Principal) -> None:
    reader = replace(acme, scopes=frozenset({"sessions", "agents:read"}))
    with pytest.raises(Forbidden):
        register(reader)


def test_a_tenant_has_a_limited_number_of_agents(acme: Principal, settings: Any) -> None:
    settings.GATEWAY_MAX_AGENTS_PER_TENANT = 1
    register(acme)
    register(acme)
    with pytest.raises(QuotaExceeded):
        register(acme, "second")


def test_agents_of_the_operator_take_precedence_over_a_tenants(
    acme: Principal, other: Principal, configure: Callable[[str], None]
) -> None:
    register(acme)
    Agent.objects.create(public_id="shared", type="model", model="demo:tour", trusted=True)
    assert ids(other) == ["house", "shared"]
    assert agent_find(other, "shared").source == "configuration"
    with pytest.raises(Conflict):
        register(acme, "shared")
    configure("[{id: helper, type: model, model: 'demo:tour'}]")
    assert agent_find(acme, "helper").source == "configuration"
    agent_unregister(acme, "helper")
    for change in (lambda: agent_unregister(acme, "helper"), lambda: agent_update(acme, "shared", name="x")):
        with pytest.raises(Forbidden):
            change()


def test_shipped_agents_are_the_default_tenants_unless_the_configuration_says_otherwise(
    acme: Principal, configure: Callable[[str], None]
) -> None:
    default = principal_of("default")
    assert {"claude-code", "openclaw", "codex", "gemini", "opencode"} <= set(ids(default))
    assert {agent.status for agent in agents_visible(default) if agent.source == "shipped"} == {"offline"}
    assert ids(acme) == ["house"]
    with pytest.raises(Unprocessable):
        agent_resolve("claude-code", principal=acme)
    configure("[{id: codex, type: acp, command: codex-acp}, {id: gemini, type: acp, enabled: false}]")
    assert ids(acme) == ["codex"]
    assert "gemini" not in ids(default)
    assert register(acme, "opencode").source == "tenant"


def test_a_model_agent_is_online_when_its_model_can_be_served(acme: Principal) -> None:
    register(acme, "works", type="model", endpoint=None, model="demo:tour")
    register(acme, "lost", type="model", endpoint=None, model="nobody:knows")
    assert [agent_find(acme, name).status for name in ("works", "lost", "house")] == ["online", "offline", "online"]


def test_a_program_is_online_when_a_check_found_it(
    acme: Principal, configure: Callable[[str], None], told: list[Any]
) -> None:
    configure(f"[{{id: here, type: process, command: '{sys.executable}'}}, {{id: gone, type: acp, command: no-such}}]")
    assert [agent_find(acme, name).status for name in ("here", "gone")] == ["offline", "offline"]
    check()
    here = agent_find(acme, "here")
    assert (here.status, agent_find(acme, "gone").status) == ("online", "offline")
    assert here.last_seen is not None
    AgentState.objects.update(checked_at=clock.now() - timedelta(seconds=61))
    assert agent_find(acme, "here").status == "offline"
    assert told == []


def test_an_endpoint_is_online_while_it_answers(
    acme: Principal, operator: Principal, told: list[Any], http_server: Server
) -> None:
    register(operator, endpoint=http_server.url)
    assert agent_find(acme, "helper").status == "offline"
    check()
    assert agent_find(acme, "helper").status == "online"
    http_server.close()
    check()
    assert agent_find(acme, "helper").status == "offline"
    tenant_id = acme.tenant_id
    assert told == [
        (tenant_id, "registered", "helper", "offline"),
        (tenant_id, "status", "helper", "online"),
        (tenant_id, "status", "helper", "offline"),
    ]


def test_a_forbidden_address_is_registered_and_offline_whatever_it_says(acme: Principal, http_server: Server) -> None:
    assert register(acme, endpoint=http_server.url).status == "offline"
    check()
    assert agent_heartbeat(acme, "helper").status == "offline"
    assert http_server.requests == 0
    Tenant.objects.filter(pk=acme.tenant_id).update(settings={"allow_private": True})
    check()
    assert agent_find(acme, "helper").status == "online"
    assert http_server.requests == 1


def test_a_heartbeat_holds_for_a_minute_until_a_check_knows_better(acme: Principal, told: list[Any]) -> None:
    register(acme)
    assert agent_heartbeat(acme, "helper").status == "online"
    assert agent_heartbeat(acme, "helper", status="busy").status == "busy"
    AgentState.objects.update(heartbeat_at=clock.now() - timedelta(seconds=61))
    assert agent_find(acme, "helper").status == "offline"
    assert [kind for _, kind, _, _ in told] == ["registered", "status", "status"]
    with pytest.raises(BadRequest):
        agent_heartbeat(acme, "helper", status="asleep")
    with pytest.raises(Forbidden):
        agent_heartbeat(acme, "house")


def test_an_agent_with_as_many_runs_as_it_takes_is_busy(
    acme: Principal, configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("[{id: house, type: model, model: 'demo:tour', max_running: 2}]")
    running = {(acme.tenant_id, "house"): 1}
    monkeypatch.setattr(LOAD, "_source", lambda: running)
    check()
    assert agent_find(acme, "house").status == "online"
    running[acme.tenant_id + 1, "house"] = 1
    check()
    assert agent_find(acme, "house").status == "busy"


def test_a_check_switched_off_looks_at_nothing(acme: Principal, settings: Any) -> None:
    settings.GATEWAY_AGENT_CHECK_SECONDS = 0
    check()
    assert not AgentState.objects.exists()


def test_an_address_of_the_operator_is_shown_to_the_operator_alone(
    acme: Principal, operator: Principal, configure: Callable[[str], None]
) -> None:
    configure("[{id: inside, type: http, endpoint: 'http://10.0.0.7:9000/run'}]")
    register(acme)
    assert agent_find(acme, "inside").endpoint is None
    assert agent_find(operator, "inside").endpoint == "http://10.0.0.7:9000/run"
    assert agent_find(acme, "helper").endpoint == PUBLIC


def test_a_listener_that_fails_takes_the_change_back(acme: Principal) -> None:
    def listen(tenant_id: int | None, kind: str, info: AgentInfo) -> None:
        raise RuntimeError

    unsubscribe = agent_changes_subscribe(listen)
    try:
        with pytest.raises(RuntimeError):
            register(acme)
    finally:
        unsubscribe()
    assert ids(acme) == ["house"]
