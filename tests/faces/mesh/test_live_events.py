"""Live events: the first frames, filters, resumption, tokens, broadcasts, heartbeats."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import Caller
from tests.faces.mesh.conftest import Script, ended, live, mesh_error, submit
from tests.gateway_harness import Client, GatewayHarness
from tests.scripted_engine import Gate, gated_leg, saying_leg

pytestmark = pytest.mark.django_db(transaction=True)


async def test_the_first_frames_say_who_and_what_is_here(api: Client) -> None:
    task_id = await submit(api, "x")
    await ended(api, task_id)
    async with api.events("", path="/v1/events", taskId=task_id) as reader:
        connected, status, welcome = [await reader.next() for _ in range(3)]
    assert connected.event == "connected"
    assert connected.data["client_id"]
    assert status.event == "task_status"
    task = status.data["task"]
    assert set(task) == {
        *("id", "status", "message", "assignedAgents", "result", "error", "createdAt", "updatedAt"),
    }
    assert (task["id"], task["status"], task["result"]) == (task_id, "completed", "x ")
    assert {"id": "one", "name": "One", "status": "online"} in welcome.data["agents"]


async def test_no_frame_has_the_name_of_an_event(api: Client) -> None:
    async with live(api) as reader:
        await submit(api, "x", options={"stream": True})
        await reader.next_of("task.completed")
    assert b"event:" not in reader.raw
    assert reader.headers["content-type"] == "text/event-stream"


async def test_filters_let_through_only_one_task_or_space(api: Client) -> None:
    space = (await api.post("/spaces", {})).json["space_id"]
    first = await submit(api, "x", id="first")
    async with live(api, taskId=first) as of_task, live(api, spaceId=space) as of_space:
        await submit(api, "in the space", id="second", context={"shared_space_id": space}, options={"stream": True})
        await ended(api, "first")
        await ended(api, "second")
        await api.post("/broadcast", {"type": "end", "data": 1})
        await of_task.next_of("end")
        seen_of_space = [await of_space.next()]
        while seen_of_space[-1].event != "end":
            seen_of_space.append(await of_space.next())
    assert b'"second"' not in of_task.raw
    assert b'"first"' not in of_space.raw
    types = {frame.event for frame in seen_of_space}
    assert {"task.submitted", "task.progress", "task.completed", "context.updated"} <= types


async def test_unknown_filters_are_refused(api: Client, gateway: GatewayHarness, stranger: Caller) -> None:
    task_id = await submit(api, "x")
    assert mesh_error(await api.get("/events?taskId=nothing")) == (404, "TASK_NOT_FOUND")
    assert mesh_error(await api.get("/events?spaceId=nothing")) == (404, "SPACE_NOT_FOUND")
    other = gateway.client(stranger)
    assert mesh_error(await other.get(f"/events?taskId={task_id}")) == (404, "TASK_NOT_FOUND")


async def test_a_client_that_comes_back_misses_nothing(api: Client, script: Script) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    async with live(api) as reader:
        task_id = await submit(api, "x", options={"stream": True})
        await gate.arrival()
        seen = [await reader.next_of("task.started")]
    gate.open()
    assert (await ended(api, task_id))["result"] == "one two three"
    async with live(api, last_id=seen[-1].id) as again:
        frames = [await again.next()]
        while frames[-1].event != "task.completed":
            frames.append(await again.next())
    assert "".join(frame.data.get("delta", "") for frame in frames) == "one two three"


async def test_an_attempt_that_was_cut_off_resets_its_text(
    api: Client, gateway: GatewayHarness, script: Script
) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    async with live(api) as reader:
        task_id = await submit(api, "x", options={"stream": True})
        await gate.arrival()
        start = (await reader.next_of("task.submitted")).id
    await gateway.restart()
    script.by_agent["one"] = saying_leg("again")
    await ended(api, task_id)
    text = ""
    async with live(api, last_id=start) as reader:
        while (frame := await reader.next()).event != "task.completed":
            text = "" if frame.data.get("reset") else text + frame.data.get("delta", "")
    assert text == "again"


async def test_a_token_opens_the_stream_and_nothing_else(
    api: Client, gateway: GatewayHarness, stranger: Caller
) -> None:
    issued = await api.post("/events/token")
    assert issued.status == 200
    assert set(issued.json) == {"token", "expiresAt"}
    token, nobody = issued.json["token"], gateway.client(None)
    async with live(nobody, token=token) as mine, live(gateway.client(stranger)) as theirs:
        await submit(api, "x")
        await mine.next_of("task.completed")
        assert not theirs._frames
    assert (await nobody.get(f"/tasks?token={token}")).status == 401
    assert mesh_error(await nobody.get("/events?token=agt_wrong")) == (401, "UNAUTHORIZED")


async def test_a_broadcast_reaches_the_tenants_followers(
    api: Client, gateway: GatewayHarness, stranger: Caller
) -> None:
    task_id = await submit(api, "x")
    async with live(api) as one, live(api, taskId=task_id) as two, live(gateway.client(stranger)) as other:
        answer = await api.post("/broadcast", {"type": "deploy.finished", "data": {"version": 3}})
        assert (answer.status, answer.json) == (200, {"delivered": True, "client_count": 2})
        for reader in (one, two):
            frame = await reader.next_of("deploy.finished")
            assert frame.data["data"] == {"version": 3}
        assert b"deploy.finished" not in other.raw
    assert (await api.post("/v1/broadcast", {"type": "again"})).json["client_count"] == 0


@pytest.mark.parametrize(
    "body", [{}, {"type": ""}, {"type": 1}, {"type": "task.completed"}, {"type": "events_dropped"}, {"type": "a b"}, []]
)
async def test_a_broadcast_with_a_bad_type_is_refused(api: Client, body: Any) -> None:
    assert mesh_error(await api.post("/broadcast", body)) == (400, "INVALID_REQUEST")


async def test_heartbeats_are_events(api: Client, settings: Any) -> None:
    settings.GATEWAY_MESH_HEARTBEAT_SECONDS = 0.01
    async with live(api) as reader:
        beat = await reader.next_of("heartbeat")
    assert isinstance(beat.data["timestamp"], int)


async def test_many_followers_keep_their_filters(api: Client) -> None:
    ids = [f"task-{number}" for number in range(20)]
    for task_id in ids:
        await submit(api, "x", id=task_id)
        await ended(api, task_id)
    async with live(api) as every:
        start = every.last_id

    async def follow(task_id: str) -> set[str]:
        async with live(api, last_id=0, taskId=task_id) as reader:
            frames = [await reader.next()]
            while frames[-1].event != "task.completed":
                frames.append(await reader.next())
        return {frame.data["task_id"] for frame in frames}

    assert await asyncio.gather(*map(follow, ids)) == [{task_id} for task_id in ids]
    assert start is not None


async def test_health_is_one_answer_for_every_protocol(api: Client, gateway: GatewayHarness) -> None:
    open_answer = (await gateway.client(None).get("/health")).json
    assert (open_answer["status"], open_answer["service"], open_answer["agents"]) == ("ok", "gateway", [])
    assert isinstance(open_answer["timestamp"], int)
    assert {"name", "version", "uptime"} <= set(open_answer)
    agents = (await api.get("/v1/health")).json["agents"]
    assert {"id": "one", "name": "One", "status": "online"} in agents
    info = (await gateway.client(None).get("/ws-info")).json
    assert set(info) == {"message", "endpoints", "example"}
    assert set(info["endpoints"]) == {"events", "rpc", "description"}
