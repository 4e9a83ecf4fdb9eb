"""The handshake: the challenge, `connect`, what is refused before it, and the deadline."""

from __future__ import annotations

import json
from typing import Any

import pytest

from faces.agentbus import connection
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
