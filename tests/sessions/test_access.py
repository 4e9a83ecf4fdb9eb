"""Access of owner, colleague, stranger and anonymous client to every route of the native face."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_asyncio
from django.urls import URLPattern, get_resolver

from core_app import database
from faces.native.face import FACE
from sessions_app.models import AgentSession
from tenants_app.principal import SCOPES
from tenants_app.services import tenant_create
from tests.conftest import Caller, caller
from tests.gateway_harness import Client, GatewayHarness
from tests.shared_gateway import HERE, api, colleague, gateway, owner, stranger, tenant, transactional_db

__all__ = ["api", "colleague", "gateway", "owner", "stranger", "tenant", "transactional_db"]

pytestmark = HERE

METHODS = ("get", "post", "put", "patch", "delete")
BODIES: dict[str, dict[str, Any]] = {
    "prompt": {"text": "hello"},
    "steer": {"text": "hello"},
    "switch_model": {"model": "demo:tour"},
    "approve": {"approvalId": "apr_1"},
    "reject": {"approvalId": "apr_1"},
    "respond": {"ref": "ref_1", "response": "yes"},
    "tool-results": {"callId": "call_1", "result": 1},
    "tools": {"name": "mine"},
    "fork": {"messageId": "msg_1"},
    "test": {"args": {}},
}
"""Valid bodies by the last part of the route. An empty object is valid everywhere else."""


def session_routes(patterns: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            if route.startswith("v1/sessions"):
                yield route, pattern.callback
        else:
            yield from session_routes(pattern.url_patterns, route)


def endpoints() -> Iterator[tuple[str, str]]:
    for route, view in session_routes(get_resolver().url_patterns):
        for method in view.actions:
            if method in METHODS:
                yield method.upper(), route
    for stream in FACE.consumers:
        if stream.protocol == "http" and str(stream.path).startswith("v1/sessions"):
            yield "POST" if str(stream.path).endswith("/test") else "GET", str(stream.path)


ENDPOINTS = sorted(set(endpoints()))
OF_A_SESSION = [(method, route) for method, route in ENDPOINTS if "session_id" in route]


def fill_route(route: str, session: str, run: str) -> str:
    known = {"session_id": session, "request_id": run, "name": "lookup"}
    return "/" + re.sub(r"<\w+:(\w+)>", lambda match: known[match[1]], route)


def body_for(method: str, route: str) -> Any:
    return BODIES.get(route.rpartition("/")[2], {}) if method in ("POST", "PATCH") else {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(api: Client) -> tuple[str, str]:
    """Creates the owner's session with a finished run and a tool, for requests that must be refused."""
    return await place_made(api)


async def place_made(api: Client) -> tuple[str, str]:
    session = await api.session()
    run = await api.run(session, "hello")
    assert (await api.post(f"/v1/sessions/{session}/tools", {"name": "lookup"})).status == 201
    return session, str(run["requestId"])


async def test_the_routes_are_found() -> None:
    assert ("POST", "v1/sessions/<str:session_id>/prompt") in ENDPOINTS
    assert ("GET", "v1/sessions/<str:session_id>/events") in ENDPOINTS
    assert len(ENDPOINTS) > 20


@pytest.mark.parametrize(("method", "route"), OF_A_SESSION)
async def test_a_stranger_is_answered_as_if_the_session_did_not_exist(
    gateway: GatewayHarness, stranger: Caller, place: tuple[str, str], method: str, route: str
) -> None:
    client = gateway.client(stranger)
    before = await database.run(_stored_sessions, place[0])
    answers = [
        await client.ask(method, fill_route(route, session, place[1]), body_for(method, route))
        for session in (place[0], "ses_that_is_not")
    ]
    assert answers[0].error == (404, "session_not_found")
    assert answers[0].body.replace(place[0].encode(), b"ses_that_is_not") == answers[1].body
    assert await database.run(_stored_sessions, place[0]) == before


def _stored_sessions(session: str) -> Any:
    rows = AgentSession.objects.filter(public_id=session)
    return AgentSession.objects.count(), list(rows.order_by("pk").values_list("pk", "state", "title", "stream__head"))


@pytest.mark.parametrize(("method", "route"), ENDPOINTS)
async def test_a_colleague_without_the_scope_is_forbidden(
    gateway: GatewayHarness, colleague: Caller, place: tuple[str, str], method: str, route: str
) -> None:
    before = await database.run(_stored_sessions, place[0])
    answer = await gateway.client(colleague).ask(method, fill_route(route, *place), body_for(method, route))
    assert answer.error == (403, "forbidden")
    assert await database.run(_stored_sessions, place[0]) == before


@pytest.mark.parametrize(("method", "route"), ENDPOINTS)
async def test_nobody_gets_in_without_a_key(
    gateway: GatewayHarness, place: tuple[str, str], method: str, route: str
) -> None:
    answer = await gateway.client(None).ask(method, fill_route(route, *place), body_for(method, route))
    assert answer.error == (401, "unauthorized")


@pytest.mark.parametrize(("method", "route"), OF_A_SESSION)
async def test_a_colleague_with_the_scope_is_let_in(
    gateway: GatewayHarness, tenant: Any, api: Client, method: str, route: str
) -> None:
    place = await place_made(api)
    friend = await database.run(caller, tenant, ("sessions",))
    answer = await gateway.client(friend).ask(method, fill_route(route, *place), body_for(method, route))
    assert answer.status not in (401, 403, 405)
    assert answer.status < 500
    if answer.status == 404:
        assert answer.json["error"] != "session_not_found"


async def test_a_stranger_sees_nothing_in_lists(gateway: GatewayHarness, place: tuple[str, str]) -> None:
    other = await database.run(lambda: caller(tenant_create(slug="elsewhere"), SCOPES))
    assert (await gateway.client(other).get("/v1/sessions")).json == {"sessions": [], "nextCursor": None}
    mine = (await gateway.client(other).post("/v1/sessions", {"model": "demo:echo", "sessionId": place[0]})).json
    assert mine["sessionId"] == place[0]


async def test_deciding_needs_its_scope_where_the_tenant_says_so(gateway: GatewayHarness) -> None:
    strict = await database.run(lambda: tenant_create(slug="strict", settings={"approvals_in_sessions": False}))
    session, _ = await place_made(gateway.client(await database.run(caller, strict, SCOPES)))
    friend = await database.run(caller, strict, ("sessions",))
    for verb in ("approve", "reject"):
        answer = await gateway.client(friend).post(f"/v1/sessions/{session}/{verb}", {"approvalId": "apr_1"})
        assert answer.error == (403, "forbidden")
