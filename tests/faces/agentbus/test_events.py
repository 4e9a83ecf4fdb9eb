"""Every event of the protocol over a real socket, with its fields."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.conf import settings as configured

from tests.conftest import Caller
from tests.faces.agentbus.bus_client import BusClient, signed_in
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)

RUN = {"run_id", "session_id"}


class Scene:
    """A signed-in client, and what else a cause of events needs."""

    def __init__(self, server: LiveServer, owner: Caller, gateway: GatewayHarness, client: BusClient, api: Client):
        self.server, self.owner, self.gateway, self.client, self.api = server, owner, gateway, client, api

    async def send(self, message: str, model: str = "demo:echo") -> None:
        await self.client.call("chat.send", session_id="s", message=message, model=model)


async def nothing(scene: Scene) -> None:
    """The event comes by itself."""


async def say(scene: Scene) -> None:
    await scene.send("hello")


async def fail(scene: Scene) -> None:
    await scene.send("fail", "demo:tour")


async def approve(scene: Scene) -> None:
    await scene.send("approve", "demo:tour")


async def ask(scene: Scene) -> None:
    await scene.send("ask", "demo:tour")


async def follow(scene: Scene) -> None:
    await scene.api.post("/v1/sessions", {"sessionId": "s", "model": "demo:echo"})
    await scene.client.call("events.follow", session_id="s")
    await scene.api.post("/v1/sessions/s/prompt", {"text": "hello"})


async def come(scene: Scene) -> None:
    async with signed_in(scene.server.port, scene.owner.secret, client_id="other"):
        pass


async def put_out(scene: Scene) -> None:
    async with signed_in(scene.server.port, scene.owner.secret, client_id="other") as other:
        await other.call("disconnect", client_id="client-1")


async def stop(scene: Scene) -> None:
    await scene.gateway.drain()


Cause = Callable[[Scene], Awaitable[None]]
EVENTS: dict[str, tuple[Cause, set[str]]] = {
    "connect.challenge": (nothing, {"nonce", "timestamp"}),
    "heartbeat": (nothing, {"timestamp", "uptime"}),
    "disconnect": (put_out, {"reason"}),
    "chat.stream": (say, RUN | {"content", "delta", "done"}),
    "chat.message": (say, RUN | {"message_id", "role", "content"}),
    "chat.error": (fail, RUN | {"code", "message", "retryable"}),
    "chat.approval": (approve, RUN | {"approval_id", "args", "args_hash"}),
    "chat.question": (ask, RUN | {"ref", "question", "options"}),
    "session.update": (say, RUN | {"state", "model"}),
    "session.event": (follow, {"session_id", "event", "data", "id"}),
    "presence.update": (come, {"client_id", "status"}),
    "shutdown": (stop, {"reason", "reconnect_after"}),
}


def test_every_event_has_its_row() -> None:
    text = (configured.BASE_DIR / "docs" / "protocol-agentbus.md").read_text(encoding="utf-8")
    table = text[text.index("\n## Events\n") : text.index("Broadcasts have the name")]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name for cell in cells for name in re.findall("`([^`]+)`", cell)}
    assert named == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
async def test_an_event_comes_with_its_fields(
    server: LiveServer, owner: Caller, gateway: GatewayHarness, api: Client, settings: Any, name: str
) -> None:
    if name == "heartbeat":
        settings.GATEWAY_RPC_HEARTBEAT_SECONDS = 0.02
    cause, fields = EVENTS[name]
    async with signed_in(server.port, owner.secret) as client:
        await cause(Scene(server, owner, gateway, client, api))
        if name == "connect.challenge":
            payload = client.frames[0]["payload"]
        else:
            payload = await client.event(name)
        assert fields <= set(payload), payload
        if name not in ("chat.approval", "chat.question"):
            assert fields == set(payload), payload
        assert not [key for key in payload if key != key.lower()]


async def test_a_connection_sees_the_sessions_that_it_sends_to_and_no_others(
    server: LiveServer, owner: Caller, api: Client
) -> None:
    await api.post("/v1/sessions", {"sessionId": "theirs", "model": "demo:echo"})
    async with (
        signed_in(server.port, owner.secret, client_id="one") as one,
        signed_in(server.port, owner.secret, client_id="two") as two,
    ):
        await one.call("chat.send", session_id="mine", message="hello", model="demo:echo")
        await api.run("theirs", "unseen")
        while not (await one.event("chat.stream"))["done"]:
            pass
        await two.call("heartbeat")
        seen = {frame["payload"].get("session_id") for frame in one.frames if frame["type"] == "event"}
        assert seen == {None, "mine"}
        assert not [frame for frame in two.frames if frame.get("event", "").startswith(("chat.", "session."))]


async def test_the_conversation_of_an_abort_ends(server: LiveServer, owner: Caller) -> None:
    async with signed_in(server.port, owner.secret) as client:
        sent = await client.call("chat.send", session_id="s", message="ask", model="demo:tour")
        await client.event("chat.question")
        assert await client.call("chat.abort", run_id=sent["run_id"]) == {"run_id": sent["run_id"], "status": "aborted"}
        while not (event := await client.event("chat.stream"))["done"]:
            pass
        assert event["run_id"] == sent["run_id"]
        assert (await client.event("session.update"))["state"] == "aborted"
        await client.call("chat.sessions.delete", session_id="s")
        assert (await client.event("session.update"))["state"] == "closed"
        updates = [frame["payload"]["state"] for frame in client.frames if frame.get("event") == "session.update"]
        assert updates == ["working", "aborted", "closed"]


@pytest.mark.parametrize(
    ("message", "asked", "method", "params", "status"),
    [
        ("approve", "chat.approval", "chat.approve", {"comment": "ok"}, "approved"),
        ("approve", "chat.approval", "chat.reject", {"reason": "no"}, "rejected"),
        ("ask", "chat.question", "chat.respond", {"response": "Yes"}, "answered"),
    ],
)
async def test_a_run_goes_on_with_the_decision(
    server: LiveServer, owner: Caller, message: str, asked: str, method: str, params: dict[str, str], status: str
) -> None:
    async with signed_in(server.port, owner.secret) as client:
        await client.call("chat.send", session_id="s", message=message, model="demo:tour")
        event = await client.event(asked)
        if asked == "chat.approval":
            params = {**params, "approval_id": event["approval_id"]}
            if method == "chat.approve":
                params["args_hash"] = event["args_hash"]
        else:
            params = {**params, "ref": event["ref"]}
        assert (await client.call(method, session_id="s", **params))["status"] == status
        while not (await client.event("chat.stream"))["done"]:
            pass
        # The same decision again changes nothing, and another one comes too late.
        assert (await client.call(method, session_id="s", **params))["status"] == status
        other = {"chat.approve": "chat.reject", "chat.reject": "chat.approve"}.get(method, method)
        assert await client.refused(other, session_id="s", **params | {"response": "No"}) == 4009


async def test_an_event_of_the_client_is_not_answered_and_counts_as_life(server: LiveServer, owner: Caller) -> None:
    async with signed_in(server.port, owner.secret) as client:
        for event in ("heartbeat", "anything.else"):
            await client.send_raw(f'{{"type":"event","event":"{event}","payload":{{"timestamp":1.5}}}}')
        answered = len([frame for frame in client.frames if frame["type"] == "res"])
        await client.call("heartbeat")
        assert len([frame for frame in client.frames if frame["type"] == "res"]) == answered + 1
