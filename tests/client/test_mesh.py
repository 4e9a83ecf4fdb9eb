"""Tasks, spaces, agents and webhooks against a real gateway."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import Any

import msgspec
import pytest
from django.conf import settings

from gateway_client import AsyncGateway, Gateway, TaskFailed, errors, mesh_results, sync_mesh, webhook_admin
from gateway_client.agents import AsyncAgents
from gateway_client.gateway_state import AgentHealth, Health, ModelInfo
from gateway_client.results import Result
from gateway_client.spaces import AsyncSpaces
from gateway_client.tasks import AsyncTasks, task_body
from gateway_client.webhook_admin import AsyncWebhooks
from gateway_project.openapi import document
from tests.stack.conftest import Start
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

ANSWERS: dict[type[msgspec.Struct], tuple[str, str]] = {
    mesh_results.TaskReceipt: ("post", "/tasks"),
    mesh_results.Task: ("get", "/tasks/{task_id}"),
    mesh_results.PipelineReceipt: ("post", "/pipeline"),
    mesh_results.SpaceInfo: ("get", "/spaces/{space_id}"),
    mesh_results.SpaceMessage: ("post", "/spaces/{space_id}/messages"),
    mesh_results.SpaceMessagePage: ("get", "/spaces/{space_id}/messages"),
    mesh_results.Artifact: ("put", "/spaces/{space_id}/artifacts/{name}"),
    mesh_results.BroadcastReceipt: ("post", "/broadcast"),
    Health: ("get", "/health"),
}
ITEMS: dict[type[msgspec.Struct], tuple[str, str | None]] = {
    mesh_results.TaskSummary: ("/tasks", None),
    mesh_results.AgentInfo: ("/agents", None),
    mesh_results.SearchHit: ("/spaces/{space_id}/search", "results"),
    AgentHealth: ("/health", "agents"),
}
SCHEMAS: dict[type[msgspec.Struct], str] = {
    webhook_admin.Webhook: "Webhook",
    webhook_admin.Delivery: "WebhookDelivery",
    webhook_admin.DeliveryPage: "WebhookDeliveryPage",
    ModelInfo: "Model",
}


def answer_schema(method: str, path: str) -> dict[str, Any]:
    answers = document()["paths"][path][method]["responses"]
    (success,) = (answer for status, answer in answers.items() if status.startswith("2"))
    schema: dict[str, Any] = success["content"]["application/json"]["schema"]
    return schema


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The gateway's own description of a result."""
    if kind in SCHEMAS:
        schema: dict[str, Any] = document()["components"]["schemas"][SCHEMAS[kind]]
    elif kind in ITEMS:
        path, field = ITEMS[kind]
        whole = answer_schema("get", path)
        schema = (whole["properties"][field] if field else whole)["items"]
    else:
        schema = answer_schema(*ANSWERS[kind])
    return schema


KINDS = [*ANSWERS, *ITEMS, *SCHEMAS]


def test_every_result_of_these_protocols_is_compared() -> None:
    declared = {
        kind
        for module in (mesh_results, webhook_admin)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and not kind.__name__.startswith("_")
    }
    assert declared - {mesh_results.MeshResult, mesh_results.TaskError, Result} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_result_has_fields_that_the_gateway_documents(kind: type[msgspec.Struct]) -> None:
    schema, fields = schema_of(kind), msgspec.structs.fields(kind)
    known = {field.encode_name for field in fields} - ({"secret"} if kind is webhook_admin.Webhook else set())
    assert known <= set(schema["properties"])
    assert {field.encode_name for field in fields if field.required} <= set(schema["required"])


def test_every_code_of_the_protocol_has_an_error() -> None:
    page = (settings.BASE_DIR / "docs/protocol-agentmesh.md").read_text(encoding="utf-8")
    table = page.partition("## Errors")[2]
    for codes, statuses in re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \| (\d+)", table, re.MULTILINE):
        for code in re.findall(r"`([A-Z_]+)`", codes):
            error = errors.error_from_response(int(statuses), {"error": {"code": code, "message": "why"}})
            assert type(error) is not errors.APIError
            assert (error.code, error.message) == (code, "why")
    assert set(errors.BY_MESH_CODE) <= set(re.findall(r"`([A-Z_]+)`", table))


@pytest.mark.parametrize(
    ("synchronous", "asynchronous"),
    [
        (sync_mesh.Tasks, AsyncTasks),
        (sync_mesh.Spaces, AsyncSpaces),
        (sync_mesh.Agents, AsyncAgents),
        (sync_mesh.Webhooks, AsyncWebhooks),
    ],
)
def test_the_synchronous_form_has_the_same_methods(synchronous: type, asynchronous: type) -> None:
    def methods(kind: type) -> dict[str, list[inspect.Parameter]]:
        return {
            name: [each.replace(annotation=None) for each in inspect.signature(method).parameters.values()]
            for name, method in vars(kind).items()
            if inspect.isfunction(method) and not name.startswith("_")
        }

    assert methods(synchronous) == methods(asynchronous)


async def test_a_task_is_followed_from_its_submission_to_its_result(gateway: AsyncGateway) -> None:
    stream = gateway.tasks.run("long 300", target="demo")
    events = [event async for event in stream]
    assert [event.type for event in events if event.type != "task.progress"] == [
        "task.submitted",
        "task.assigned",
        "task.started",
        "task.completed",
    ]
    task = await stream.task()
    assert "".join(event.data["delta"] for event in events if event.type == "task.progress") == task.result
    assert (task.status, task.assigned_agents, task.error) == ("completed", ["demo"], None)


async def test_a_task_that_fails_is_an_error_with_its_code(gateway: AsyncGateway) -> None:
    with pytest.raises(TaskFailed) as failed:
        await gateway.tasks.run("fail", target="demo").task()
    assert failed.value.code == "EXECUTION_ERROR"
    with pytest.raises(errors.AgentNotFound):
        await gateway.tasks.run("x", target="nobody").task()
    with pytest.raises(errors.NoAgentAvailable):
        await gateway.tasks.submit("x")
    with pytest.raises(errors.TaskNotFound):
        await gateway.tasks.follow("task_unknown").task()


async def test_a_task_is_followed_later_and_cancelled(gateway: AsyncGateway) -> None:
    receipt = await gateway.tasks.submit("ask", target="demo", stream=True, timeout=60)
    stream = gateway.tasks.follow(receipt.task_id)
    assert (await anext(stream)).type == "task_status"
    await gateway.tasks.cancel(receipt.task_id)
    with pytest.raises(TaskFailed) as cancelled:
        await stream.task()
    assert cancelled.value.code == "CANCELLED"
    assert [event.type async for event in gateway.tasks.follow(receipt.task_id)] == ["task_status"]
    with pytest.raises(errors.Conflict):
        await gateway.tasks.cancel(receipt.task_id)


async def test_tasks_are_listed_page_by_page(gateway: AsyncGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_client.tasks.PAGE", 2)
    ids = [(await gateway.tasks.submit("x", target="demo")).task_id for _ in range(5)]
    listed = [task.id async for task in gateway.tasks.list(agent="demo")]
    assert listed[:5] == ids[::-1]
    assert [task.id async for task in gateway.tasks.list(agent="demo", limit=3)] == listed[:3]


async def test_steps_of_a_pipeline_get_the_result_before(gateway: AsyncGateway) -> None:
    receipt = await gateway.tasks.pipeline([("demo", "First:"), ("demo", "")], "words", timeout=60)
    first, second = [await gateway.tasks.follow(task_id).task() for task_id in receipt.task_ids]
    assert str(first.result) in str(second.result)
    assert (second.pipeline_id, second.step) == (receipt.pipeline_id, 1)


async def test_a_broadcast_reaches_the_followers(gateway: AsyncGateway) -> None:
    async with gateway.tasks.events(timeout=30) as events:
        assert (await anext(events)).type == "connected"
        receipt = await gateway.tasks.broadcast("test.said", {"a": 1})
        assert receipt.delivered
        while (event := await anext(events)).type != "test.said":
            pass
    assert event.data["data"] == {"a": 1}


async def test_a_space_keeps_messages_and_files(gateway: AsyncGateway) -> None:
    space = await gateway.spaces.create({"project": "x"})
    said = [(await gateway.spaces.add_message(space, f"message {number} of whales")).id for number in range(3)]
    assert [message.id async for message in gateway.spaces.messages(space)] == said[::-1]
    assert [message.id async for message in gateway.spaces.messages(space, limit=1)] == said[-1:]
    stored = await gateway.spaces.store_artifact(space, "a.txt", b"about whales \x00\xff", "text/plain")
    assert (stored.size, stored.media_type) == (15, "text/plain")
    assert await gateway.spaces.artifact(space, "a.txt") == b"about whales \x00\xff"
    found = await gateway.spaces.search(space, "whales")
    assert {hit.kind for hit in found} >= {"message"}
    await gateway.spaces.delete_artifact(space, "a.txt")
    assert await gateway.spaces.artifacts(space) == []
    info = await gateway.spaces.get(space)
    assert (info.message_count, info.artifact_count, info.metadata) == (3, 0, {"project": "x"})
    with pytest.raises(errors.ArtifactNotFound):
        await gateway.spaces.artifact(space, "a.txt")
    with pytest.raises(errors.SpaceNotFound):
        await gateway.spaces.get("space-unknown")


async def test_an_agent_is_registered_changed_and_removed(gateway: AsyncGateway) -> None:
    await gateway.agents.register("mine", "model", name="Mine", model="demo:echo", capabilities=["echoing"])
    assert "mine" in [agent.id for agent in await gateway.agents.list()]
    await gateway.agents.change("mine", name="Ours")
    assert (await gateway.agents.get("mine")).name == "Ours"
    task = await gateway.tasks.run("words", capabilities=["echoing"]).task()
    assert task.result == "words"
    await gateway.agents.remove("mine")
    with pytest.raises(errors.AgentNotFound):
        await gateway.agents.get("mine")


async def test_webhooks_are_managed(gateway: AsyncGateway) -> None:
    made = await gateway.webhooks.create("http://127.0.0.1:9/hook", ["agent_end"], description="one")
    assert str(made.secret).startswith("whsec_")
    assert (await gateway.webhooks.get(made.id)).secret is None
    assert (await gateway.webhooks.rotate(made.id)).secret != made.secret
    sent = await gateway.webhooks.test(made.id)
    async with asyncio.timeout(60):
        # While an attempt is under way, a delivery is not sent again.
        while [each.attempts async for each in gateway.webhooks.deliveries(made.id)] != [1]:
            pass
    assert (await gateway.webhooks.redeliver(made.id, sent.id)).id == sent.id
    assert await gateway.webhooks.redeliver_dead(made.id) == 0
    changed = await gateway.webhooks.change(made.id, disabled=True)
    assert changed.disabled_at is not None
    await gateway.webhooks.delete(made.id)
    assert made.id not in [each.id for each in await gateway.webhooks.list()]


async def test_the_gateway_tells_its_health_and_models(gateway: AsyncGateway) -> None:
    health = await gateway.health()
    assert health.status == "ok"
    assert "demo" in [agent.id for agent in health.agents]
    assert isinstance(await gateway.models(), list)
    assert isinstance(await gateway.quota(), dict)


def test_the_synchronous_client_runs_tasks(served: GatewayProcess) -> None:
    with Gateway(served.url, KEY) as gateway:
        stream = gateway.tasks.run("hello", target="demo")
        assert next(stream).type == "task.submitted"
        assert "hello" in gateway.tasks.get(str(stream.task_id)).id + stream.task().result
        space = gateway.spaces.create()
        gateway.spaces.add_message(space, "hello")
        assert [message.content for message in gateway.spaces.messages(space)] == ["hello"]
        assert "demo" in [agent.id for agent in gateway.agents.list()]
        assert isinstance(gateway.webhooks.list(), list)


async def test_a_task_under_way_survives_a_kill_of_its_server(process: Start) -> None:
    server = process()
    await server.start()
    async with AsyncGateway(server.url, KEY) as gateway:
        stream = gateway.tasks.run("approve", target="demo", task_timeout=120)
        while (await anext(stream)).type != "task.started":
            pass
        await server.kill()
        await server.start()
        (session_id,) = (await gateway.tasks.get(str(stream.task_id))).session_ids
        session = await gateway.sessions.get(session_id)
        async for event in session.events():
            if event.type == "approval_required":
                await session.approve(event.data["approvalId"])
                break
        rest = [event.type async for event in stream]
        assert rest[-1] == "task.completed"
        assert (await stream.task()).status == "completed"


def test_a_field_that_tasks_do_not_have_is_refused() -> None:
    assert task_body("x", {"space_id": "s", "target": None, "files": ["a"]}) == {
        "type": "request",
        "payload": {"task": "x", "files": ["a"], "context": {"shared_space_id": "s"}},
    }
    with pytest.raises(errors.GatewayError, match="no field 'spaceid'"):
        task_body("x", {"spaceid": "s"})
