"""The RPC client against a real gateway: requests, events, sign-in, and connections that break."""

from __future__ import annotations

import asyncio
import base64
import threading
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway_client import AsyncGateway
from gateway_client.errors import ConnectionFailed, RPCError
from gateway_client.rpc import ClientConfig, GatewayClient
from gateway_client.rpc_sessions import SessionPositions
from gateway_client.rpc_sync import SyncGatewayClient
from tests.client.conftest import QUICK
from tests.client.test_sessions import all_events
from tests.stack.conftest import Start
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

DEATHS = 3


def config(server: GatewayProcess, **more: Any) -> ClientConfig:
    return ClientConfig(url=server.url.replace("http", "ws"), auth_token=KEY, reconnect_delay=0.2, **more)


async def test_requests_are_answered_and_refused(served: GatewayProcess) -> None:
    client = GatewayClient(config(served))
    with pytest.raises(ConnectionFailed):
        await client.send_request("system.info")
    await client.connect()
    assert client.is_connected
    assert (await client.send_request("system.info"))["name"] == "agent-gateway"
    with pytest.raises(RPCError) as refused:
        await client.send_request("sessions.get", {"session_id": "unknown"})
    assert refused.value.code == 4004
    await client.send_event("heartbeat")
    await client.disconnect()
    assert client.get_status()["connected"] is False


async def test_a_wrong_key_is_refused(served: GatewayProcess) -> None:
    client = GatewayClient(ClientConfig(url=served.url.replace("http", "ws"), auth_token="wrong"))
    with pytest.raises(RPCError) as refused:
        await client.connect()
    assert refused.value.code == 4001


async def test_a_handler_that_fails_or_is_removed_stops_no_other(served: GatewayProcess) -> None:
    client = GatewayClient(config(served))
    done = asyncio.Event()
    seen: list[Any] = []
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))

    def fail(payload: Any) -> None:
        raise LookupError("handler")

    async def finish(payload: Any) -> None:
        if payload["done"]:
            done.set()

    client.on_event("chat.stream", fail)
    client.on_event("chat.stream", seen.append)
    client.on_event("chat.stream", finish)
    client.on_event("session.update", seen.append)
    client.off_event("session.update", seen.append)
    await client.connect()
    await client.send_request("chat.send", {"session_id": f"r-{uuid4().hex}", "message": "hi", "model": "demo:echo"})
    async with asyncio.timeout(60):
        await done.wait()
    assert "".join(payload["delta"] for payload in seen) == seen[-1]["content"] == "hi"
    assert failures
    await client.disconnect()


async def test_a_conversation_survives_kills_of_its_server(process: Start) -> None:
    server = process()
    await server.start()
    client = GatewayClient(config(server, max_reconnect_attempts=1000))
    grew = asyncio.Condition()
    natives: list[Any] = []
    deltas: list[tuple[str, str]] = []
    done: set[str] = set()

    async def take_native(payload: Any) -> None:
        natives.append(str(payload["id"]))

    async def take_delta(payload: Any) -> None:
        async with grew:
            if payload["done"]:
                done.add(payload["run_id"])
            else:
                deltas.append((payload["run_id"], payload["delta"]))
            grew.notify_all()

    client.on_event("session.event", take_native)
    client.on_event("chat.stream", take_delta)
    name = f"r-{uuid4().hex}"
    async with AsyncGateway(server.url, KEY, timeouts=QUICK) as gateway:
        await gateway.sessions.create("demo:tour", session_id=name, provider_opts={"delayMs": 20})
        await client.connect()
        async with asyncio.timeout(240):
            for number in range(DEATHS):
                sent = await client.send_request("chat.send", {"session_id": name, "message": f"long {60 + number}"})
                run_id = sent["run_id"]
                async with grew:
                    while sum(run == run_id for run, _ in deltas) < 5 + 7 * number:
                        await grew.wait()
                await server.kill()
                await server.start()
                async with grew:
                    while run_id not in done:
                        await grew.wait()
        log = await all_events(gateway, name)
    await client.disconnect()
    written = [(event.data["requestId"], event.data["delta"]) for event in log if event.type == "message_delta"]
    assert deltas == written
    positions = [event.id for event in log]
    assert natives[0] in positions[:8]
    assert natives == positions[positions.index(natives[0]) : positions.index(natives[-1]) + 1]


def test_the_synchronous_client_does_the_same(served: GatewayProcess) -> None:
    client = SyncGatewayClient(config(served))
    client.connect()
    done = threading.Event()
    asked: list[str] = []

    def ask(payload: Any) -> None:
        asked.append(client.send_request("system.info")["name"])
        if payload["done"]:
            done.set()

    client.on_event("chat.stream", ask)
    client.send_request("chat.send", {"session_id": f"r-{uuid4().hex}", "message": "hi", "model": "demo:echo"})
    assert done.wait(60)
    assert set(asked) == {"agent-gateway"}
    client.off_event("chat.stream", ask)
    client.close()
    assert client.get_status()["connected"] is False


async def test_a_device_signs_in_with_its_key(process: Start) -> None:
    server = process()
    server.variables["GATEWAY_AUTH_MODES"] = "token,device"
    await server.start()
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    client = GatewayClient(config(server))
    await client.connect()
    await client.send_request("devices.register", {"device_id": "lamp", "public_key": public})
    await client.disconnect()
    device = ClientConfig(url=client.config.url, device_id="lamp", device_key=key.private_bytes_raw())
    lamp = GatewayClient(device)
    assert (await lamp.connect())["auth_info"]["method"] == "device"
    await lamp.disconnect()


Shown = tuple[str, dict[str, Any]]


def shown_from(log: list[int], after: int, *, native: bool) -> list[Shown]:
    """The frames of a session as the gateway sends them: each event, and then as many others as its number says."""
    frames: list[Shown] = []
    for event in log[after:]:
        fields = {"event": "prompt_received" if event == 3 else "other", "data": {"requestId": "run"}, "id": event}
        frames += [("session.event", {"session_id": "s", **fields})] if native else []
        frames += [("chat.stream", {"session_id": "s", "of": (event, each)}) for each in range(event % 3)]
    return frames


@pytest.mark.parametrize("native_from", range(6))
def test_a_session_that_was_sent_to_is_resumed_at_any_frame(native_from: int) -> None:
    """Event 3 is the prompt's; the first connection shows native events after `native_from` more frames."""
    log = list(range(1, 10))
    first = shown_from(log, 2, native=True)
    first = [frame for number, frame in enumerate(first) if number >= native_from or frame[0] != "session.event"]
    for cut in range(len(first)):
        for second_cut in range(len(shown_from(log, 0, native=True))):
            positions = SessionPositions()
            positions.note_prompt("s", "run")
            taken = [frame for frame in first[:cut] if positions.admits(*frame)]
            for limit in (second_cut, None):
                again = shown_from(log, int(positions.resume()["s"]), native=True)[:limit]
                taken += [frame for frame in again if positions.admits(*frame)]
            conversation = [payload["of"] for name, payload in taken if name == "chat.stream"]
            assert conversation == [payload["of"] for name, payload in first if name == "chat.stream"]
            natives = [payload["id"] for name, payload in taken if name == "session.event"]
            assert natives == log[log.index(natives[0]) :]


def test_a_session_that_is_followed_is_resumed_at_any_frame() -> None:
    log = list(range(1, 10))
    for cut in range(8):
        positions = SessionPositions()
        positions.note_follow("s", "1")
        frames = [frame for frame in shown_from(log, 1, native=True) if frame[0] == "session.event"]
        taken = [frame for frame in frames[:cut] if positions.admits(*frame)]
        again = shown_from(log, int(positions.resume()["s"]), native=True)
        taken += [frame for frame in again if positions.admits(*frame)]
        assert taken == frames
