"""The handshake: the challenge, `connect`, what is refused before it, and the deadline."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from edge_app.rpc import Method
from faces.agentbus import connection
from faces.agentbus.methods import METHODS
from tests.conftest import Caller
from tests.faces.agentbus.bus_client import bus, signed_in
from tests.faces.native.live_server import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("path", ["/rpc", "/", "/ws", "/ws/"])
async def test_a_client_signs_in_at_every_path(server: LiveServer, owner: Caller, path: str) -> None:
    async with bus(server.port, path) as client:
        challenge = await client.event()
        assert set(challenge) == {"nonce", "timestamp"}
        client.nonce = challenge["nonce"]
        response = await client.sign_in(auth_token=owner.secret, capabilities=["chat"])
        assert response["ok"], response
        payload = response["payload"]
        assert set(payload) == {"server_info", "capabilities", "policy", "auth_info"}
        assert payload["server_info"]["protocol_version"] == "1.0"
        assert payload["policy"] == {"heartbeat_interval": 30, "connection_timeout": 300, "max_connections": 1000}
        info = payload["auth_info"]
        assert info["method"] == "token"
        assert "admin" in info["scopes"]
        assert info["session_id"]
        assert info["expires_at"] > challenge["timestamp"]


async def test_every_other_method_is_refused_before_connect(server: LiveServer, owner: Caller) -> None:
    async with bus(server.port) as client:
        for method in ("system.info", "system.status", "chat.send", "heartbeat", "nonsense"):
            assert await client.refused(method) == 4001
        assert (await client.sign_in(auth_token=owner.secret))["ok"]
        assert (await client.call("system.info"))["name"] == "agent-gateway"


async def test_the_status_may_be_public(server: LiveServer, settings: Any) -> None:
    settings.GATEWAY_RPC_PUBLIC_STATUS = True
    async with bus(server.port) as client:
        assert (await client.call("system.info"))["protocol_version"] == "1.0"
        status = await client.call("system.status")
        assert status["connections"] == 1
        assert (status["sessions"], status["active_runs"]) == (None, None)
        assert await client.refused("chat.sessions.list") == 4001


async def test_five_failed_connects_close_the_connection(server: LiveServer) -> None:
    async with bus(server.port) as client:
        for number in range(5):
            response = await client.sign_in(auth_token=f"wrong-{number}")
            assert response["error"]["code"] == 4001
        assert await client.close_code() == 4401


async def test_a_failed_connect_may_be_tried_again(server: LiveServer, owner: Caller) -> None:
    async with bus(server.port) as client:
        assert not (await client.sign_in(auth_token="wrong"))["ok"]
        assert not (await client.sign_in())["ok"]
        assert (await client.sign_in(auth_token=owner.secret))["ok"]
        assert (await client.sign_in(auth_token=owner.secret))["error"]["code"] == 4009


async def test_a_connection_that_does_not_sign_in_is_closed(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HANDSHAKE_SECONDS", 0.01)
    async with bus(server.port) as client:
        assert await client.close_code() == 4408


@pytest.mark.parametrize(
    ("frame", "expected_id"),
    [
        ('{"type":"req","id":"a","meth', None),
        ("[1]", None),
        ('"text"', None),
        ('{"type":"nonsense","id":"a"}', "a"),
        ('{"type":"req","id":"a"}', "a"),
        ('{"type":"req","method":"heartbeat"}', None),
        ('{"type":"req","id":true,"method":"heartbeat"}', None),
        ('{"type":"req","id":"a","method":7}', "a"),
        ('{"type":"req","id":"a","method":"heartbeat","params":[]}', "a"),
        ('{"type":"req","id":"a","method":"heartbeat","extra":1}', "a"),
        ('{"type":"req","id":"a","method":"heartbeat","timestamp":"now"}', "a"),
        ('{"type":"event","event":7}', None),
        ('{"type":"event","event":"heartbeat","extra":1}', None),
        ("[" * 5000 + "]" * 5000, None),
        (json.dumps({"type": "req", "id": "x" * 300, "method": "heartbeat"}), None),
        (b'{"type":"req","id":"a","method":"heartbeat"}', None),
        (b"\x00\xff", None),
        (r'{"type":"req","id":"a\u0000","method":"heartbeat"}', None),
        (r'{"type":"req","id":"\ud800","method":"heartbeat"}', None),
        (r'{"type":"req","id":"a","method":"heart\u0000beat"}', "a"),
        (r'{"type":"req","id":"a","method":"heartbeat","params":{"x":["\udc00"]}}', "a"),
        (r'{"type":"req","id":7,"method":"heartbeat","params":{"\u0000":1}}', 7),
        ('{"type":"req","id":"a\x00","method":"heartbeat"}', None),
        ('{"type":"req","id":"a","method":"heartbeat","params":' + '{"a":' * 70 + "1" + "}" * 70 + "}", None),
        ('{"type":"req","id":"a","method":"heartbeat","params":{"x":[' + "0," * 60_000 + "0]}}", None),
        ('{"type":"req","id":"a","method":"' + "m" * 200 + '"}', "a"),
        ('{"type":"req","id":"","method":"heartbeat"}', None),
        ('{"type":"req","id":1.5,"method":"heartbeat"}', None),
        ('{"type":"req","id":{},"method":"heartbeat"}', None),
        ('{"type":"req","id":"a","method":"heartbeat"}{}', None),
        ('{"type":"req","id":"a","method":"heartbeat","timestamp":NaN}', None),
        ('{"type":"res","id":"a","ok":true,"payload":{}}', "a"),
        ("null", None),
        ("", None),
    ],
)
async def test_a_malformed_frame_is_answered(
    server: LiveServer, owner: Caller, frame: str | bytes, expected_id: str | None
) -> None:
    async with signed_in(server.port, owner.secret) as client:
        await client.send_raw(frame)
        response = await client.response()
        assert (response["ok"], response["id"], response["error"]["code"]) == (False, expected_id, 4000)
        assert (await client.call("heartbeat"))["status"] == "ok"


@pytest.mark.parametrize("text", [r"\\u0000", r"\ud83d\ude00", "\N{REPLACEMENT CHARACTER}", r"\\ud800"])
async def test_text_that_only_looks_malformed_is_taken(server: LiveServer, owner: Caller, text: str) -> None:
    async with signed_in(server.port, owner.secret) as client:
        await client.send_raw(f'{{"type":"req","id":"{text}","method":"heartbeat","params":{{"x":"{text}"}}}}')
        response = await client.response()
        assert response["ok"], response
        assert response["id"] == json.loads(f'"{text}"')


@pytest.mark.parametrize("deep", [10_000, 200_000])
async def test_a_deep_frame_is_answered_and_costs_nobody_else_anything(
    server: LiveServer, owner: Caller, deep: int
) -> None:
    async with signed_in(server.port, owner.secret) as client, signed_in(server.port, owner.secret) as other:
        await client.send_raw('{"a":' * deep + "1" + "}" * deep)
        assert (await client.response())["error"]["code"] == 4000
        assert (await other.call("heartbeat"))["status"] == "ok"


async def test_malformed_frames_before_connect_are_answered_too(server: LiveServer, owner: Caller) -> None:
    async with bus(server.port) as client:
        for frame in ("", "{", b"x", r'"\u0000"', "[]"):
            await client.send_raw(frame)
            assert (await client.response())["error"]["code"] == 4000
        assert (await client.sign_in(auth_token=owner.secret))["ok"]


async def test_a_second_request_of_an_id_in_flight_is_refused(
    server: LiveServer, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def wait(caller: Any, wanted: Any) -> dict[str, Any]:
        await gate.wait()
        return {"first": True}

    monkeypatch.setitem(METHODS, "heartbeat", Method.on_loop(lambda params: params, wait))
    frame = '{"type":"req","id":"same","method":"heartbeat"}'
    async with signed_in(server.port, owner.secret) as client:
        await client.send_raw(frame)
        await client.send_raw(frame)
        refused = await client.response()
        assert (refused["id"], refused["error"]["code"]) == ("same", 4000)
        gate.set()
        answered = await client.response()
        assert (answered["id"], answered["payload"]) == ("same", {"first": True})
        await client.send_raw(frame)
        assert (await client.response())["ok"]
