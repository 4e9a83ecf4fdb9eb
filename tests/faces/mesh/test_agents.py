"""/agents over the directory, and the events of their changes."""

from __future__ import annotations

import pytest

from tests.conftest import Caller
from tests.faces.mesh.conftest import ended, live, mesh_error, submit
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)

MINE = {"id": "mine", "name": "Mine", "type": "model", "model": "demo:echo", "capabilities": ["sums"]}


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_an_agent_is_registered_used_changed_and_removed(api: Client, prefix: str) -> None:
    async with live(api) as reader:
        made = await api.post(f"{prefix}/agents", MINE)
        assert (made.status, made.json) == (201, {"id": "mine", "status": "registered"})
        registered = await reader.next_of("agent.registered")
        assert (registered.data["agent_id"], registered.data["agent"]["capabilities"]) == ("mine", ["sums"])
        listed = {agent["id"]: agent for agent in (await api.get(f"{prefix}/agents")).json}
        assert set(listed["mine"]) == {"id", "name", "type", "capabilities", "status", "endpoint", "lastSeen"}
        task = await ended(api, await submit(api, "1 + 1", options={"capabilities": ["sums"]}))
        assert (task["assigned_agents"], task["status"]) == (["mine"], "completed")
        changed = await api.patch(f"{prefix}/agents/mine", {"name": "Ours", "system_prompt": "Be brief."})
        assert (changed.json["name"], changed.json["system_prompt"]) == ("Ours", "Be brief.")
        assert (await api.get(f"{prefix}/agents/mine")).json == changed.json
        assert (await api.delete(f"{prefix}/agents/mine")).json == {"id": "mine", "status": "unregistered"}
        assert (await reader.next_of("agent.unregistered")).data["agent_id"] == "mine"
    assert mesh_error(await api.get(f"{prefix}/agents/mine")) == (404, "AGENT_NOT_FOUND")


async def test_a_heartbeat_changes_the_status_and_is_an_event(api: Client) -> None:
    await api.post("/agents", {"id": "far", "type": "http", "endpoint": "http://127.0.0.1:1/agent"})
    assert (await api.get("/agents/far")).json["status"] == "offline"
    async with live(api) as reader:
        await api.post("/agents/far/heartbeat", {"status": "busy"})
        beat = await api.post("/agents/far/heartbeat", {"status": "online"})
        assert beat.json["lastSeen"] is not None
        await reader.next_of("agent.status")
    assert mesh_error(await api.post("/agents/far/heartbeat", {"status": "asleep"})) == (400, "INVALID_REQUEST")
    assert mesh_error(await api.post("/agents/nobody/heartbeat")) == (404, "AGENT_NOT_FOUND")


async def test_another_tenants_agent_is_unknown(api: Client, gateway: GatewayHarness, stranger: Caller) -> None:
    await api.post("/agents", MINE)
    other = gateway.client(stranger)
    for answer in (
        await other.get("/agents/mine"),
        await other.patch("/agents/mine", {"name": "x"}),
        await other.delete("/agents/mine"),
        await other.post("/agents/mine/heartbeat"),
        await other.post("/tasks", {"target": "mine", "payload": {"task": "x"}}),
    ):
        assert mesh_error(answer) == (404, "AGENT_NOT_FOUND")
    assert "mine" not in {agent["id"] for agent in (await other.get("/agents")).json}


async def test_only_the_operator_registers_programs(gateway: GatewayHarness, colleague: Caller, api: Client) -> None:
    program = {"id": "p", "type": "process", "command": "/bin/true"}
    refused = await gateway.client(colleague).post("/agents", program)
    assert mesh_error(refused) == (403, "FORBIDDEN")
    behind = await api.post("/agents", {"id": "q", "type": "process", "endpoint": "https://agent.example/"})
    assert behind.status == 201
    assert (await api.get("/agents/q")).json["type"] == "http"


@pytest.mark.parametrize("body", [{}, {"id": "gateway", "type": "model"}, {"id": "x"}, {"id": "x", "type": "nothing"}])
async def test_a_bad_agent_is_refused(api: Client, body: object) -> None:
    assert mesh_error(await api.post("/agents", body)) == (400, "INVALID_REQUEST")
