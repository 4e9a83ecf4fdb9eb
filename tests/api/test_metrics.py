"""The content of `/metrics`, and who may read it."""

from __future__ import annotations

from typing import Any

from django.db import OperationalError
from prometheus_client import REGISTRY as PROMETHEUS_REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from core_app import database
from edge_app.gate import PathTable
from edge_app.http.body_budget import BODIES, FREE_BYTES
from gateway_project.asgi import probes
from gateway_project.http.faces import faces
from gateway_project.http.routing import face_templates, route_templates, socket_templates
from gateway_project.process import connections
from tests.api.contract import CheckingClient
from tests.conftest import Caller, caller
from tests.gateway_harness import Client, GatewayHarness


async def read(client: Client) -> dict[str, float]:
    """Returns every sample by its name and labels."""
    answer = await client.get("/metrics")
    assert answer.status == 200
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def growth(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after[name] - before.get(name, 0.0)


async def test_a_run_is_counted(checking_client: CheckingClient) -> None:
    session = await checking_client.session(model="demo:tour")
    before = await read(checking_client)
    await checking_client.run(session, "hello")
    after = await read(checking_client)
    for name in (
        "gateway_runs_ended_total state=completed",
        "gateway_queue_seconds_count",
        "gateway_leg_seconds_count engine=demo",
        "gateway_first_token_seconds_count engine=demo",
        "gateway_http_requests_total method=POST route=/v1/sessions/{session_id}/prompt status=202",
        "gateway_http_answer_seconds_count route=/v1/sessions/{session_id}/prompt",
    ):
        assert growth(before, after, name) == 1, name
    for name in (
        "gateway_flusher_commits_total",
        "gateway_flusher_events_total",
        "gateway_commit_seconds_count",
        "gateway_tokens_total direction=out model=demo:tour",
    ):
        assert growth(before, after, name) > 0, name
    assert growth(before, after, "gateway_commit_events_sum") == growth(before, after, "gateway_flusher_events_total")


async def test_what_is_going_on_is_shown(checking_client: CheckingClient, gateway: GatewayHarness) -> None:
    session = await checking_client.session(model="demo:tour")
    async with checking_client.events(session, follow="session") as reader:
        await checking_client.prompt(session, "please approve")
        await reader.next_of("approval_required")
        await gateway.wait_idle()
        shown = await read(checking_client)
    assert shown["gateway_runs state=waiting"] == 1
    assert shown["gateway_runs state=queued"] == 0
    assert shown["gateway_followers"] == 1
    assert shown["gateway_sockets"] == 0
    assert shown["process_open_fds"] > 0


async def test_refusals_are_counted_by_code_and_route(
    checking_client: CheckingClient, gateway: GatewayHarness, owner: Caller
) -> None:
    before = await read(checking_client)
    await gateway.client(None).get("/v1/sessions")
    await checking_client.ask("GET", "/v1/sessions/none")
    await gateway.client(None).get("/somewhere/else")
    after = await read(checking_client)
    assert growth(before, after, "gateway_errors_total code=unauthorized") == 1
    assert growth(before, after, "gateway_errors_total code=session_not_found") == 1
    assert growth(before, after, "gateway_http_requests_total method=GET route=/v1/sessions status=401") == 1
    assert growth(before, after, "gateway_http_requests_total method=GET route=other status=404") == 1


async def test_a_limited_request_is_counted(
    checking_client: CheckingClient, gateway: GatewayHarness, tenant: Any
) -> None:
    limited = gateway.client(await caller_of(tenant))
    before = await read(checking_client)
    statuses = [(await limited.get("/v1/sessions")).status for _ in range(2)]
    assert statuses == [200, 429]
    assert growth(before, await read(checking_client), "gateway_rate_limited_total") == 1


async def test_bodies_in_memory_are_shown_and_refused_ones_counted(
    checking_client: CheckingClient, owner: Caller, settings: Any
) -> None:
    settings.GATEWAY_BODY_MEMORY_BYTES = 2 * FREE_BYTES
    share = BODIES.open_share(owner.principal.tenant_id)
    share.grow_to(2 * FREE_BYTES)
    try:
        before = await read(checking_client)
        body = {"sessionId": "s", "title": "x" * FREE_BYTES}
        assert (await checking_client.ask("POST", "/v1/sessions", body)).status == 429
        after = await read(checking_client)
    finally:
        share.release()
    assert after["gateway_body_bytes"] == 2 * FREE_BYTES
    assert growth(before, after, "gateway_bodies_refused_total share=tenant") == 1


async def caller_of(tenant: Any) -> Caller:
    return await database.run(lambda: caller(tenant, ("sessions",), rpm=1))


async def test_metrics_are_the_platforms(gateway: GatewayHarness, colleague: Caller) -> None:
    refused = await gateway.client(colleague).get("/metrics")
    assert refused.error == (403, "forbidden")
    assert (await gateway.client(None).get("/metrics")).status == 401


async def test_runs_are_left_out_while_the_database_does_not_answer(
    checking_client: CheckingClient, monkeypatch: Any
) -> None:
    def fail() -> dict[str, int]:
        raise OperationalError

    monkeypatch.setattr("gateway_project.observability.metrics._count_unfinished", fail)
    shown = await read(checking_client)
    assert not [name for name in shown if name.startswith("gateway_runs ")]
    assert "gateway_followers" in shown


def test_every_instrument_is_shown() -> None:
    elsewhere = [family.name for family in PROMETHEUS_REGISTRY.collect() if family.name.startswith("gateway")]
    assert elsewhere == []


def test_a_route_is_found_by_its_words() -> None:
    routes = route_templates(faces())
    assert routes.find("/v1/sessions/abort/abort") == "/v1/sessions/{session_id}/abort"
    assert routes.find("/v1/sessions/a/runs/b/abort") == "/v1/sessions/{session_id}/runs/{request_id}/abort"
    assert routes.find("/v1/sessions/a/tools/x/test") == "/v1/sessions/{session_id}/tools/{name}/test"
    assert routes.find("/admin/tenants_app/apikey/") == "/admin"
    assert routes.find("/v1/sessions/a/nothing") == "other"
    assert routes.find("*") == "other"


def test_every_template_is_a_path_of_its_face() -> None:
    paths = PathTable(faces())
    for face in faces():
        sockets = socket_templates(face)
        found = {template: paths.find(template, socket=template in sockets).face for template in face_templates(face)}
        assert [template for template, owner in found.items() if owner is not face] == []


async def test_a_worker_has_metrics_of_its_own(gateway: GatewayHarness, owner: Caller) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    for path, headers in (("/metrics", [(b"x-api-key", owner.secret.encode())]), ("/metrics", []), ("/healthz", [])):
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
        await probes(scope, receive, send)
    starts = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert starts == [200, 401, 200]


async def test_connections_are_shown_by_their_state(checking_client: CheckingClient) -> None:
    before = await read(checking_client)
    table, idle, busy = connections.CONNECTIONS, Silent(), Silent()
    for connection in (idle, busy):
        assert table.admit(connection, 0)
    table.begin_request(busy)
    try:
        table.count("idle")
        after = await read(checking_client)
    finally:
        for connection in (idle, busy):
            table.forget(connection)
    assert growth(before, after, "gateway_connections state=waiting") == 1
    assert growth(before, after, "gateway_connections state=serving") == 1
    assert growth(before, after, "gateway_connections_refused_total reason=idle") == 1


class Silent:
    """A connection that sends nothing."""

    group: str | None = None
    known = False

    def give_up(self) -> None:
        raise AssertionError("Nothing is over a limit here.")
