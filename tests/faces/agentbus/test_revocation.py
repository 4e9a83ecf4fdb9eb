"""Revocation closes the connections of a credential at once, whoever revokes it and wherever they are connected."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import Client as Browser

from core_app import clock, database
from edge_app.key_changes import KEY_CHANGES, TOPIC
from events_app.signals import SIGNALS
from tenants_app.key_cache import KEY_CACHE
from tenants_app.models import ApiKey, ConnectionToken, Device, Tenant, User
from tenants_app.services import api_key_revoke
from tenants_app.services.api_key import api_key_update
from tenants_app.services.device import device_register
from tests.conftest import Caller, caller
from tests.faces.agentbus.bus_client import bus, signed_in
from tests.faces.agentbus.fake_device import FakeDevice
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import eventually

pytestmark = pytest.mark.django_db(transaction=True)

DEVICES = "/admin/tenants_app/device/"
TOKENS = "/admin/tenants_app/connectiontoken/"


@pytest.fixture
def operator(db: None) -> Browser:
    """The browser of a superuser."""
    browser = Browser()
    browser.force_login(User.objects.create_user(username="root", is_staff=True, is_superuser=True))
    return browser


async def revoke_on_page(operator: Browser, page: str, row: int) -> None:
    """Revokes a row as an operator does: selects it, chooses the action and confirms."""
    chosen = {"action": "revoke", "_selected_action": [row]}
    asked = await database.run(operator.post, page, chosen)
    assert "Yes, revoke" in asked.content.decode()
    done = await database.run(operator.post, page, {**chosen, "confirmed": "yes"})
    assert done.status_code == 302


def registered(tenant: Tenant, device: FakeDevice) -> int:
    found = device_register(tenant=tenant, device_id=device.device_id, public_key=device.public_key, actor="tests")
    return found.pk


async def test_a_device_revoked_on_its_page_is_disconnected_and_nobody_else(
    server: LiveServer, owner: Caller, tenant: Tenant, settings: Any, operator: Browser
) -> None:
    settings.GATEWAY_AUTH_MODES = ["token", "device"]
    lost, kept = FakeDevice("lost"), FakeDevice("kept")
    row, _ = await database.run(registered, tenant, lost), await database.run(registered, tenant, kept)
    async with bus(server.port) as one, bus(server.port) as two, signed_in(server.port, owner.secret) as three:
        assert (await lost.sign_in(one))["ok"]
        assert (await kept.sign_in(two))["ok"]
        await revoke_on_page(operator, DEVICES, row)
        assert await one.close_code() == 4401
        assert (await two.call("heartbeat"))["status"] == "ok"
        assert (await three.call("heartbeat"))["status"] == "ok"
    async with bus(server.port) as again:
        assert (await lost.sign_in(again))["error"]["code"] == 4001
    assert (await database.run(Device.objects.get, pk=row)).revoked_at is not None


async def test_a_device_that_an_operator_registers_signs_in(
    server: LiveServer, tenant: Tenant, settings: Any, operator: Browser
) -> None:
    settings.GATEWAY_AUTH_MODES = ["device"]
    device = FakeDevice("laptop")
    body = {"tenant": tenant.pk, "device_id": device.device_id, "public_key": device.openssh_key}
    assert (await database.run(operator.post, f"{DEVICES}add/", body)).status_code == 302
    async with bus(server.port) as client:
        assert (await device.sign_in(client))["ok"]
    assert device.device_id in (await database.run(operator.get, DEVICES)).content.decode()


async def test_a_token_revoked_on_its_page_ends_its_connections(
    server: LiveServer, owner: Caller, operator: Browser
) -> None:
    async with signed_in(server.port, owner.secret, client_id="first") as first:
        token = first.frames[-1]["payload"]["auth_info"]["session_id"]
        async with bus(server.port) as resumed, signed_in(server.port, owner.secret, client_id="other") as other:
            assert (await resumed.sign_in(session_token=token))["ok"]
            row = await database.run(ConnectionToken.objects.get, client_id="first")
            await revoke_on_page(operator, TOKENS, row.pk)
            assert await first.close_code() == 4401
            assert await resumed.close_code() == 4401
            assert (await other.call("heartbeat"))["status"] == "ok"


async def test_a_revoked_token_ends_the_connections_of_others_that_use_it(server: LiveServer, owner: Caller) -> None:
    async with signed_in(server.port, owner.secret) as holder, signed_in(server.port, owner.secret) as admin:
        token = holder.frames[-1]["payload"]["auth_info"]["session_id"]
        assert (await admin.call("auth.revoke", session_id=token))["status"] == "revoked"
        assert await holder.close_code() == 4401
        assert (await admin.call("heartbeat"))["status"] == "ok"


async def test_a_revoked_key_ends_its_connections(server: LiveServer, owner: Caller, tenant: Tenant) -> None:
    fired = await database.run(caller, tenant, ["sessions"])
    async with signed_in(server.port, fired.secret) as client, signed_in(server.port, owner.secret) as other:
        key = await database.run(ApiKey.objects.get, pk=fired.principal.key_id)
        await database.run(lambda: api_key_revoke(key=key))
        assert await client.close_code() == 4401
        assert (await other.call("heartbeat"))["status"] == "ok"


async def test_a_key_that_may_no_longer_read_is_shown_no_event(
    server: LiveServer, owner: Caller, tenant: Tenant
) -> None:
    reading = await database.run(caller, tenant, ["sessions:read", "inference"])
    async with signed_in(server.port, reading.secret) as reader, signed_in(server.port, owner.secret) as writer:
        await writer.call("chat.sessions.create", session_id="s", model="demo:echo")
        await reader.call("events.follow", session_id="s")
        key = await database.run(ApiKey.objects.get, pk=reading.principal.key_id)
        await database.run(
            lambda: api_key_update(key=key, name=key.name, scopes=["inference"], rpm=None, expires_at=None)
        )
        assert (await reader.call("heartbeat"))["status"] == "ok"
        await writer.call("chat.send", session_id="s", message="a secret word")
        assert await reader.close_code() == 4401


async def test_a_change_in_another_process_is_looked_up_here_at_once(
    server: LiveServer, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KEY_CACHE, "clock", lambda: 0.0)
    async with signed_in(server.port, owner.secret) as client:
        assert (await client.call("heartbeat"))["status"] == "ok"
        row = ApiKey.objects.filter(pk=owner.principal.key_id or 0)
        # In this process nobody is told of it.
        await database.run(lambda: row.update(revoked_at=clock.now()))
        assert (await client.call("heartbeat"))["status"] == "ok"
        SIGNALS.send(TOPIC, {})
        assert await client.close_code() == 4401


async def test_a_connection_that_has_ended_is_checked_no_more(server: LiveServer, owner: Caller) -> None:
    async with signed_in(server.port, owner.secret):
        assert len(KEY_CHANGES._rechecks) == 1
    await eventually(lambda: not KEY_CHANGES._rechecks)


async def test_a_check_that_fails_ends_no_connection(
    server: LiveServer, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = asyncio.Event()

    async def fail(token_id: int) -> None:
        checked.set()
        raise RuntimeError("a bug")

    async with signed_in(server.port, owner.secret) as client:
        with monkeypatch.context() as patch:
            patch.setattr("faces.agentbus.credential.aconnection_token_check", fail)
            SIGNALS.send(TOPIC, {})
            await checked.wait()
        assert (await client.call("heartbeat"))["status"] == "ok"
