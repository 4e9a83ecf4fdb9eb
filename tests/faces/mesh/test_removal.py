"""Retention and erasure of tasks, spaces, files and live events."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core_app import clock, database
from events_app.models import Event, Stream
from faces.mesh.models import (
    Artifact,
    MeshStream,
    RoutingRule,
    SearchEntry,
    Space,
    SpaceMessage,
    StoredFile,
    Task,
    TaskRun,
)
from faces.mesh.tasks import PipelineStep, TaskRequest, pipeline_submit, task_submit
from sessions_app.services.erasure import end_user_erase, tenant_erase
from sessions_app.services.retention import retention_apply
from tenants_app.models import Tenant
from tests.conftest import Caller
from tests.faces.mesh.conftest import Script, ended, live, submit
from tests.gateway_harness import Client
from tests.scripted_engine import Gate, gated_leg

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = (Task, TaskRun, Space, SpaceMessage, Artifact, StoredFile, SearchEntry)


def counts() -> dict[str, int]:
    return {table.__name__: table.objects.count() for table in TABLES}


async def fill(api: Client) -> str:
    """Leaves a task in a space with a file; returns the space's id."""
    space = str((await api.post("/spaces", {})).json["space_id"])
    await api.ask("PUT", f"/spaces/{space}/artifacts/a.txt", body=b"x", headers={"content-type": "text/plain"})
    await ended(api, await submit(api, "x", context={"shared_space_id": space}, options={"stream": True}))
    return space


async def test_the_erasure_of_a_tenant_leaves_nothing(
    api: Client, script: Script, tenant: Tenant, tmp_path: Path
) -> None:
    await fill(api)
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    await submit(api, "still running")
    await gate.arrival()

    def erase() -> dict[str, int]:
        RoutingRule.objects.create(tenant=tenant, name="r", keywords=["k"], agents=["a"])
        tenant_erase(tenant=tenant, actor="test")
        return counts()

    assert set((await database.run(erase)).values()) == {0}
    assert await database.run(RoutingRule.objects.count) == 0
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []
    stream = await database.run(lambda: MeshStream.objects.get(tenant=tenant).stream_id)
    assert await database.run(Event.objects.filter(stream_id=stream).count) == 0
    gate.open()
    async with live(api):
        pass


def apply_after(days: int, tenant: Tenant) -> None:
    """Makes everything older, and applies retention."""
    with database.write_transaction():
        moment = clock.now() - timedelta(days=days)
        Task.objects.update(updated_at=moment)
        Space.objects.update(updated_at=moment)
    retention_apply(tenant=tenant)


async def test_retention_removes_ended_tasks_and_old_spaces(
    api: Client, script: Script, tenant: Tenant, settings: Any
) -> None:
    await fill(api)
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    busy = (await api.post("/spaces", {})).json["space_id"]
    running = await submit(api, "still running", context={"shared_space_id": busy})
    await gate.arrival()
    settings.GATEWAY_RETENTION_SESSIONS_DAYS = 10
    before = await database.run(counts)
    await database.run(apply_after, 9, tenant)
    assert await database.run(counts) == before
    await database.run(apply_after, 11, tenant)
    left = await database.run(counts)
    assert (left["Task"], left["Space"], left["Artifact"], left["StoredFile"]) == (1, 1, 0, 0)
    assert (await api.get(f"/tasks/{running}")).json["status"] == "running"
    gate.open()
    await ended(api, running)


async def test_old_live_events_are_removed_and_their_readers_told(
    api: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(api) as reader:
        await submit(api, "x")
        first = await reader.next_of("task.submitted")
        await reader.next_of("task.completed")
    later = clock.now() + timedelta(days=8)
    await api.post("/broadcast", {"type": "kept"})

    def remove() -> int:
        with monkeypatch.context() as context:
            context.setattr("faces.mesh.removal.clock.now", lambda: later)
            retention_apply(tenant=tenant)
        return Stream.objects.get(pk=MeshStream.objects.get(tenant=tenant).stream_id).floor

    assert await database.run(remove) > 0
    async with live(api, last_id=first.id) as again:
        dropped = await again.next_of("events_dropped")
    assert {"from", "to"} <= set(dropped.data)


async def test_the_erasure_of_an_end_user_takes_the_users_tasks(
    api: Client, script: Script, tenant: Tenant, owner: Caller
) -> None:
    space = str((await api.post("/spaces", {})).json["space_id"])
    secret = "heliotrope"
    gate = Gate()
    script.by_agent["two"] = gated_leg(gate)

    def act() -> tuple[str, list[str]]:
        principal = replace(owner.principal, end_user="u-1", key_id=None, guest="jwt")
        task = task_submit(principal=principal, request=TaskRequest(text=secret, space_id=space, body={"t": secret}))
        steps = [PipelineStep("two"), PipelineStep("one", secret)]
        _, rest = pipeline_submit(principal=principal, steps=steps, text=secret, request=TaskRequest(text=secret))
        return task.public_id, [each.public_id for each in rest]

    async with live(api) as reader:
        ended_id, unfinished = await database.run(act)
        kept = await submit(api, "of somebody else", context={"shared_space_id": space})
        await ended(api, ended_id)
        await ended(api, kept)
        await gate.arrival()
        await database.run(end_user_erase, tenant_id=tenant.pk, end_user="u-1", actor="test")
        assert [(await reader.next_of("task.failed")).data["task_id"] for _ in unfinished] == unfinished
    gate.open()
    for task_id in (ended_id, *unfinished):
        assert (await api.get(f"/tasks/{task_id}")).status == 404
    assert [row["id"] for row in (await api.get("/tasks")).json] == [kept]
    contents = [row["content"] for row in (await api.get(f"/spaces/{space}/messages")).json["messages"]]
    assert contents == ["of somebody else", "of somebody else "]
    assert (await api.get(f"/spaces/{space}/search?q={secret}")).json["results"] == []

    def left() -> tuple[int, int, bool]:
        row = Space.objects.get(public_id=space)
        stored = sum(len((m.content + m.body).encode()) for m in SpaceMessage.objects.filter(space=row))
        return row.message_count, row.bytes - stored, Event.objects.filter(data__contains=secret).exists()

    assert await database.run(left) == (2, 0, False)
