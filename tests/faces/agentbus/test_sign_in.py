"""The ways to sign in, and who is refused: passwords, devices, the tailnet, session tokens, and the lockout."""

from __future__ import annotations

import asyncio
import base64
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from core_app import database, database_threads
from core_app.errors import RateLimited, Unauthorized
from tenants_app.lockout import FAILURES, Lockout
from tenants_app.models import Tenant, User
from tenants_app.services import gateway_user_ensure, tenant_create, tenant_update
from tests.conftest import Caller
from tests.faces.agentbus.bus_client import bus, signed_in
from tests.faces.agentbus.fake_device import FakeDevice
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import WAIT, GatewayHarness, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def device_mode(settings: Any) -> None:
    settings.GATEWAY_AUTH_MODES = ["token", "device"]


async def register(server: LiveServer, owner: Caller, device: FakeDevice, public_key: str | None = None) -> None:
    async with signed_in(server.port, owner.secret) as client:
        payload = await client.call(
            "devices.register", deviceId=device.device_id, publicKey=public_key or device.public_key
        )
        assert payload["device"]["status"] == "active"


@pytest.mark.parametrize("form", ["public_key", "openssh_key"])
async def test_a_device_signs_in_with_its_key(server: LiveServer, owner: Caller, device_mode: None, form: str) -> None:
    device = FakeDevice()
    await register(server, owner, device, getattr(device, form))
    async with bus(server.port) as client:
        response = await device.sign_in(client)
        assert response["ok"], response
        assert response["payload"]["auth_info"]["scopes"] == ["device", "sessions"]
        assert await client.refused("devices.list") == 4003
        sent = await client.call("chat.send", session_id="by-device", message="hi", model="demo:echo")
        assert sent["status"] == "started"


@pytest.mark.parametrize("written", ["{:.1f}", "{:.0f}", '"{:.3f}"', "{:.4e}"])
async def test_the_timestamp_is_signed_as_it_is_written(
    server: LiveServer, owner: Caller, device_mode: None, written: str
) -> None:
    device = FakeDevice()
    await register(server, owner, device)
    async with bus(server.port) as client:
        nonce = (await client.event("connect.challenge"))["nonce"]
        literal = written.format(time.time() if "e" not in written else round(time.time(), -5))
        signature = device.sign(nonce, literal.strip('"'))
        await client.send_raw(
            f'{{"type":"req","id":1,"method":"connect","params":{{"client_id":"c","device_id":"{device.device_id}",'
            f'"nonce":"{nonce}","timestamp":{literal},"signature":"{signature}"}}}}'
        )
        response = await client.response()
        if "e" in written and abs(float(literal) - time.time()) > 300:
            assert response["error"]["code"] == 4001
        else:
            assert response["ok"], response


async def test_forged_replayed_expired_and_foreign_signatures_are_refused(
    server: LiveServer, owner: Caller, device_mode: None
) -> None:
    device, other = FakeDevice(), FakeDevice()
    await register(server, owner, device)
    async with bus(server.port) as first:
        assert (await device.sign_in(first))["ok"]
        nonce = first.nonce
    for changed in (
        {"signature": base64.b64encode(b"x" * 64).decode()},
        {"signature": "not base64"},
        {"nonce": nonce, "signature": device.sign(nonce, "1")},
        {"timestamp": time.time() - 400},
        {"timestamp": time.time() + 400},
        {"device_id": "device-2"},
    ):
        async with bus(server.port) as client:
            response = await device.sign_in(client, **changed)
            assert response["error"]["code"] == 4001, changed
    async with bus(server.port) as client:
        assert (await other.sign_in(client))["error"]["code"] in (4001, 4029)


async def test_revoking_a_device_refuses_it_and_closes_its_connection(
    server: LiveServer, owner: Caller, device_mode: None
) -> None:
    device = FakeDevice()
    await register(server, owner, device)
    async with bus(server.port) as client, signed_in(server.port, owner.secret) as admin:
        assert (await device.sign_in(client))["ok"]
        assert (await admin.call("devices.revoke", device_id=device.device_id))["status"] == "revoked"
        assert await client.close_code() == 4401
        assert (await admin.call("devices.list"))["devices"] == []
        assert await admin.refused("devices.revoke", device_id="unknown") == 4004
    async with bus(server.port) as client:
        assert (await device.sign_in(client))["error"]["code"] == 4001


async def test_a_foreign_tenant_cannot_take_a_device_over(
    server: LiveServer, owner: Caller, stranger: Caller, device_mode: None
) -> None:
    device = FakeDevice()
    await register(server, owner, device)
    await register(server, stranger, device)
    async with bus(server.port) as client:
        assert (await device.sign_in(client))["ok"]
        await client.call("chat.sessions.create", session_id="mine", model="demo:echo")
    async with signed_in(server.port, owner.secret) as client:
        assert (await client.call("sessions.get", session_id="mine"))["session"]["id"] == "mine"
        assert (await client.call("devices.revoke", device_id=device.device_id))["status"] == "revoked"
    async with bus(server.port) as client:
        assert (await device.sign_in(client))["error"]["code"] == 4001


async def test_a_user_signs_in_with_a_password(server: LiveServer, tenant: Tenant, settings: Any) -> None:
    await database.run(User.objects.create_user, "ann", password="secret of ann", tenant=tenant, scopes=["sessions"])
    async with bus(server.port) as client:
        assert (await client.sign_in(username="ann", password="secret of ann"))["error"]["code"] == 4003
        settings.GATEWAY_AUTH_MODES = ["password"]
        assert (await client.sign_in(username="ann", password="wrong"))["error"]["code"] == 4001
        response = await client.sign_in(username="ann", password="secret of ann")
        assert response["payload"]["auth_info"]["user_id"] == "ann"
        assert response["payload"]["auth_info"]["method"] == "password"


async def test_the_gateway_user_has_the_password_of_the_setting(server: LiveServer, settings: Any, db: None) -> None:
    settings.GATEWAY_AUTH_MODES, settings.GATEWAY_PASSWORD = ["password"], "one password"
    await database.run(gateway_user_ensure)
    async with bus(server.port) as client:
        assert (await client.sign_in(password="one password"))["ok"]
    settings.GATEWAY_PASSWORD = ""
    await database.run(gateway_user_ensure)
    async with bus(server.port) as client:
        assert (await client.sign_in(password="one password"))["error"]["code"] == 4001


async def test_five_failures_lock_the_pair_and_nobody_else(server: LiveServer, tenant: Tenant, settings: Any) -> None:
    settings.GATEWAY_AUTH_MODES = ["password"]
    for name in ("ann", "bob"):
        await database.run(User.objects.create_user, name, password=f"pass of {name}", tenant=tenant)
    async with bus(server.port) as client:
        for _ in range(FAILURES):
            assert (await client.sign_in(username="ann", password="wrong"))["error"]["code"] == 4001
    async with bus(server.port) as client:
        response = await client.sign_in(username="ann", password="pass of ann")
        assert response["error"]["code"] == 4029
        assert 0 < response["error"]["details"]["retry_after"] <= 300
        assert (await client.sign_in(username="bob", password="pass of bob"))["ok"]


async def test_attempts_sent_at_once_are_not_more_than_the_lockout_allows(
    server: LiveServer, tenant: Tenant, settings: Any
) -> None:
    settings.GATEWAY_AUTH_MODES = ["password"]
    await database.run(User.objects.create_user, "ann", password="pass of ann", tenant=tenant)

    async def guess(number: int) -> int:
        async with bus(server.port) as client:
            code: int = (await client.sign_in(username="ann", password=f"guess {number}"))["error"]["code"]
            return code

    codes = await asyncio.gather(*(guess(number) for number in range(3 * FAILURES)))
    assert sorted(codes) == [4001] * FAILURES + [4029] * 2 * FAILURES


async def test_attempts_under_many_names_are_counted_by_address(
    server: LiveServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GATEWAY_AUTH_MODES = ["password", "device"]
    settings.GATEWAY_FAILED_KEYS_PER_MINUTE = 2
    settings.GATEWAY_REDIS_URL = ""  # former tests have left counts of this address there
    async with bus(server.port) as client:
        assert (await client.sign_in(username="ann", password="guess"))["error"]["code"] == 4001
        assert (await client.sign_in(session_token="agc_" + "x" * 43))["error"]["code"] == 4001
        assert (await client.sign_in(username="bob", password="guess"))["error"]["code"] == 4029


async def test_passwords_of_strangers_take_no_threads_of_others(
    server: LiveServer, owner: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GATEWAY_AUTH_MODES = ["password", "token"]
    go_on = threading.Event()

    def slow(**credentials: Any) -> None:
        assert go_on.wait(WAIT)

    monkeypatch.setattr("faces.agentbus.sign_in.authenticate", slow)

    async def guess(number: int) -> int:
        async with bus(server.port) as client:
            code: int = (await client.sign_in(username=f"user {number}", password="x"))["error"]["code"]
            return code

    guesses = [asyncio.create_task(guess(number)) for number in range(settings.GATEWAY_DB_THREADS)]
    try:
        await eventually(lambda: database_threads.ACTIONS.shares.waiting)
        async with signed_in(server.port, owner.secret) as client:
            await client.call("chat.sessions.list")
    finally:
        go_on.set()
    assert set(await asyncio.gather(*guesses)) == {4001}


@pytest.mark.parametrize("field", ["client_name", "version", "platform"])
async def test_what_a_client_says_of_itself_is_bounded(server: LiveServer, owner: Caller, field: str) -> None:
    async with bus(server.port) as client:
        refused = await client.sign_in(auth_token=owner.secret, **{field: "x" * 201})
        assert (refused["error"]["code"], refused["error"]["details"]["field"]) == (4000, field)
        assert (await client.sign_in(auth_token=owner.secret, **{field: "x" * 200}))["ok"]


async def test_addresses_of_one_network_are_locked_together(settings: Any) -> None:
    settings.GATEWAY_REDIS_URL = ""
    lockout = Lockout()
    for number in range(FAILURES):
        with pytest.raises(Unauthorized):
            async with lockout.attempt(f"2001:db8:1:2::{number}", "user ann"):
                raise Unauthorized("wrong")
    with pytest.raises(RateLimited):
        async with lockout.attempt("2001:db8:1:2:ffff::1", "user ann"):
            raise AssertionError("no attempt may be made")
    async with lockout.attempt("2001:db8:1:3::1", "user ann"):
        pass


async def test_a_session_token_is_good_until_its_credential_is_revoked(server: LiveServer, owner: Caller) -> None:
    async with signed_in(server.port, owner.secret) as client:
        token = client.frames[-1]["payload"]["auth_info"]["session_id"]
    async with bus(server.port) as client:
        assert (await client.sign_in(session_token=token))["payload"]["auth_info"]["session_id"] == token
    tenant = await database.run(Tenant.objects.get, slug=owner.principal.tenant_slug)
    await database.run(tenant_update, tenant=tenant, disabled=True)
    async with bus(server.port) as client:
        assert (await client.sign_in(session_token=token))["error"]["code"] == 4001


@pytest.mark.parametrize("password", ["another one", None])
async def test_a_session_token_ends_with_the_password_that_gave_it(
    server: LiveServer, tenant: Tenant, settings: Any, password: str | None
) -> None:
    settings.GATEWAY_AUTH_MODES, settings.GATEWAY_KEY_CACHE_SECONDS = ["password"], 0
    user = await database.run(User.objects.create_user, "ann", password="secret of ann", tenant=tenant)
    async with bus(server.port) as client:
        response = await client.sign_in(username="ann", password="secret of ann")
        token = response["payload"]["auth_info"]["session_id"]
        user.first_name = "Ann"
        await database.run(user.save)
        await client.call("heartbeat")
        user.set_password(password)
        await database.run(user.save)
        assert await client.refused("heartbeat") == 4001
        assert await client.close_code() == 4401
    async with bus(server.port) as client:
        assert (await client.sign_in(session_token=token))["error"]["code"] == 4001


@asynccontextmanager
async def tailscaled(path: Path, login: str | None) -> AsyncIterator[list[str]]:
    """Serves tailscaled's whois on a socket; `login` None: the peer is not in the tailnet. Yields the peers asked."""
    asked: list[str] = []

    async def whois(request: web.Request) -> web.Response:
        asked.append(request.query["addr"])
        if login is None:
            return web.Response(status=404)
        return web.json_response({"UserProfile": {"LoginName": login}, "Node": {}})

    application = web.Application()
    application.router.add_get("/localapi/v0/whois", whois)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield asked
    finally:
        await runner.cleanup()


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A path for a socket. Under /tmp, since the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ts-", dir="/tmp") as directory:
        yield Path(directory) / "tailscaled.sock"


@pytest.mark.parametrize("login", ["ann@example.com", None])
async def test_tailscaled_says_who_a_peer_is(
    server: LiveServer, settings: Any, socket_path: Path, login: str | None
) -> None:
    await database.run(tenant_create, slug="default")
    settings.GATEWAY_TAILSCALE_SOCKET = str(socket_path)
    async with tailscaled(socket_path, login) as asked, bus(server.port) as client:
        assert (await client.sign_in())["error"]["code"] == 4001
        assert asked == []
        settings.GATEWAY_ALLOW_TAILSCALE = True
        response = await client.sign_in()
        local = client.connection.local_address
        assert asked == [f"{local[0]}:{local[1]}"]
        if login is None:
            assert response["error"]["code"] == 4001
        else:
            assert response["payload"]["auth_info"]["user_id"] == login
            assert response["payload"]["auth_info"]["scopes"] == ["tailscale_user"]
            assert (await client.call("chat.sessions.list"))["sessions"] == []


async def test_a_guest_that_resumes_has_the_rate_limits_of_its_first_connection(
    server: LiveServer, settings: Any, socket_path: Path
) -> None:
    tenant = await database.run(tenant_create, slug="default")
    settings.GATEWAY_ALLOW_TAILSCALE, settings.GATEWAY_TAILSCALE_SOCKET = True, str(socket_path)
    settings.GATEWAY_RATE_LIMIT_RPM = 3
    async with tailscaled(socket_path, f"{tenant.pk}@example.com"):
        async with bus(server.port) as client:
            token = (await client.sign_in())["payload"]["auth_info"]["session_id"]
        async with bus(server.port) as client:
            assert (await client.sign_in(session_token=token))["payload"]["auth_info"]["method"] == "tailscale"
            for _ in range(settings.GATEWAY_RATE_LIMIT_RPM):
                await client.call("presence.list")
            assert await client.refused("presence.list") == 4029
        async with bus(server.port) as client:  # the bucket is the guest's, not the connection's
            assert (await client.sign_in(session_token=token))["ok"]
            assert await client.refused("presence.list") == 4029


async def test_web_pages_of_foreign_origins_are_nobody_in_the_tailnet(
    server: LiveServer, settings: Any, socket_path: Path
) -> None:
    await database.run(tenant_create, slug="default")
    settings.GATEWAY_ALLOW_TAILSCALE, settings.GATEWAY_TAILSCALE_SOCKET = True, str(socket_path)
    settings.GATEWAY_CORS_ORIGINS = ["*", "https://app.example.com"]
    async with tailscaled(socket_path, "ann@example.com") as asked:
        for origin in ("https://evil.example", "null", f"http://127.0.0.1:{server.port}", "*.example.com"):
            async with bus(server.port, origin=origin) as client:
                assert (await client.sign_in())["error"]["code"] == 4001, origin
        assert asked == []
        async with bus(server.port, origin="https://app.example.com") as client:
            assert (await client.sign_in())["ok"]


async def test_the_header_of_a_proxy_that_is_not_trusted_says_nothing(
    server: LiveServer, settings: Any, tmp_path: Path
) -> None:
    await database.run(tenant_create, slug="default")
    settings.GATEWAY_ALLOW_TAILSCALE = True
    settings.GATEWAY_TAILSCALE_SOCKET = str(tmp_path / "none.sock")
    headers = {"Tailscale-User-Login": "ann@example.com", "X-Forwarded-For": "100.64.0.1"}
    async with bus(server.port, additional_headers=headers) as client:
        assert (await client.sign_in())["error"]["code"] == 4001


@pytest_asyncio.fixture
async def proxied(gateway: GatewayHarness, settings: Any) -> AsyncIterator[LiveServer]:
    """A server that trusts a proxy at the loopback address; the server reads the setting when it starts."""
    settings.GATEWAY_TRUSTED_PROXIES = ["127.0.0.1"]
    server = LiveServer()
    await server.start()
    yield server
    await server.stop()


async def test_the_header_of_a_trusted_proxy_says_who_a_peer_is(
    proxied: LiveServer, settings: Any, tmp_path: Path
) -> None:
    await database.run(tenant_create, slug="default")
    settings.GATEWAY_ALLOW_TAILSCALE = True
    settings.GATEWAY_TAILSCALE_SOCKET = str(tmp_path / "none.sock")
    told = {"Tailscale-User-Login": "ann@example.com", "X-Forwarded-For": "100.64.0.1"}
    async with bus(proxied.port, additional_headers=told) as client:
        response = await client.sign_in()
        assert response["ok"], response
        assert response["payload"]["auth_info"]["user_id"] == "ann@example.com"
    for headers in ({"X-Forwarded-For": "100.64.0.2"}, {**told, "Tailscale-User-Login": " "}):
        async with bus(proxied.port, additional_headers=headers) as client:
            assert (await client.sign_in())["error"]["code"] == 4001


async def test_a_lock_holds_for_the_address_that_failed_and_no_other(
    proxied: LiveServer, tenant: Tenant, settings: Any
) -> None:
    settings.GATEWAY_AUTH_MODES = ["password"]
    await database.run(User.objects.create_user, "ann", password="pass of ann", tenant=tenant)

    async def attempt(address: str, password: str) -> int | None:
        async with bus(proxied.port, additional_headers={"X-Forwarded-For": address}) as client:
            error = (await client.sign_in(username="ann", password=password))["error"]
            return None if error is None else int(error["code"])

    assert [await attempt("192.0.2.1", f"guess {number}") for number in range(FAILURES)] == [4001] * FAILURES
    assert await attempt("192.0.2.1", "pass of ann") == 4029
    assert await attempt("192.0.2.2", "pass of ann") is None


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=500),
        web.Response(text="no JSON"),
        web.json_response([]),
        web.json_response({"UserProfile": None}),
        web.json_response({"UserProfile": {"LoginName": 7}}),
        web.json_response({"UserProfile": {"LoginName": ""}}),
    ],
    ids=["500", "text", "a list", "no profile", "a number", "nobody"],
)
async def test_a_tailscaled_that_says_nothing_useful_lets_nobody_in(
    server: LiveServer, settings: Any, socket_path: Path, answer: web.Response
) -> None:
    await database.run(tenant_create, slug="default")
    settings.GATEWAY_ALLOW_TAILSCALE, settings.GATEWAY_TAILSCALE_SOCKET = True, str(socket_path)

    async def whois(request: web.Request) -> web.Response:
        return web.Response(status=answer.status, text=answer.text, content_type="application/json")

    application = web.Application()
    application.router.add_get("/localapi/v0/whois", whois)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(socket_path)).start()
    try:
        async with bus(server.port) as client:
            assert (await client.sign_in())["error"]["code"] == 4001
    finally:
        await runner.cleanup()
    async with bus(server.port) as client:
        assert (await client.sign_in())["error"]["code"] == 4001


WAYS: dict[str, dict[str, Any]] = {
    "token": {"auth_token": "x"},
    "password": {"username": "ann", "password": "x"},
    "device": {"device_id": "d", "nonce": "n", "timestamp": 1, "signature": "s"},
    "tailscale": {},
    "session": {"session_token": "agc_" + "x" * 43},
}
"""Each way to sign in, with a credential that is not good."""


@pytest.mark.parametrize("way", WAYS)
async def test_a_way_is_refused_where_it_is_off_and_where_its_credential_is_not_good(
    server: LiveServer, db: None, settings: Any, way: str
) -> None:
    params = WAYS[way]
    settings.GATEWAY_AUTH_MODES = []
    async with bus(server.port) as client:
        # A session token is always accepted, and the tailnet has a setting of its own.
        expected = 4001 if way in ("session", "tailscale") else 4003
        assert (await client.sign_in(**params))["error"]["code"] == expected
    settings.GATEWAY_AUTH_MODES = ["token", "password", "device"]
    async with bus(server.port) as client:
        assert (await client.sign_in(**params))["error"]["code"] == 4001


@pytest.mark.parametrize("missing", ["nonce", "timestamp", "signature"])
async def test_a_device_that_leaves_something_out_is_told(
    server: LiveServer, owner: Caller, device_mode: None, missing: str
) -> None:
    device = FakeDevice()
    await register(server, owner, device)
    async with bus(server.port) as client:
        assert (await device.sign_in(client, **{missing: None}))["error"]["code"] == 4000
        assert (await device.sign_in(client, timestamp="soon"))["error"]["code"] == 4000
        assert (await device.sign_in(client, timestamp="NaN"))["error"]["code"] == 4001
        assert (await device.sign_in(client))["ok"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "x" * 129}, "client_id"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"client_id": 7}, "client_id"),
        ({"capabilities": "chat"}, "capabilities"),
        ({"capabilities": ["x" * 65]}, "capabilities"),
        ({"capabilities": ["x"] * 65}, "capabilities"),
        ({"capabilities": [1]}, "capabilities.0"),
        ({"last_seq": {"s": []}}, "last_seq...."),
        ({"auth_token": 7}, "auth_token"),
        ({"timestamp_literal": "1"}, "timestamp_literal"),
        ({"timestampLiteral": "1"}, "timestamp_literal"),
    ],
)
async def test_a_connect_with_a_wrong_parameter_is_told_which(
    server: LiveServer, owner: Caller, changed: dict[str, Any], field: str
) -> None:
    async with bus(server.port) as client:
        error = (await client.sign_in(**{"auth_token": owner.secret, **changed}))["error"]
        if changed.get("timestamp_literal") is not None:
            assert error is None  # what the client says of it is overwritten
            return
        assert (error["code"], error["details"]["field"]) == (4000, field)
        assert (await client.sign_in(auth_token=owner.secret))["ok"]
