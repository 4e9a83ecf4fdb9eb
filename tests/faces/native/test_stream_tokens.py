"""Stream tokens: one session, read only, in an address."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from core_app import clock, database
from events_app.models import StreamToken
from tenants_app.models import ApiKey, Tenant
from tenants_app.principal import SCOPES, SESSIONS
from tenants_app.services import api_key_revoke
from tests.conftest import Caller, caller
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client, GatewayHarness


@pytest.fixture
def nobody(gateway: GatewayHarness) -> Client:
    """A client that shows no key."""
    return gateway.client(None)


async def token_of(client: Client, session: str) -> str:
    answer = await client.post(f"/v1/sessions/{session}/stream-token")
    assert answer.status == 200, answer.body
    return str(answer.json["token"])


def expire() -> None:
    StreamToken.objects.update(expires_at=clock.now() - timedelta(seconds=1))


def key_of(who: Caller) -> ApiKey:
    assert who.principal.key_id is not None
    return ApiKey.objects.get(pk=who.principal.key_id)


def unscope(who: Caller) -> None:
    key = key_of(who)
    key.scopes = []
    key.save(update_fields=["scopes"])


async def refusal_of(server: LiveServer, session: str, **query: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused:
        async with server.socket(session, **query):
            pass
    return refused.value.response.status_code, json.loads(refused.value.response.body or b"")["error"]


async def test_a_token_follows_its_session_over_sse_and_over_the_socket(
    api: Client, nobody: Client, server: LiveServer
) -> None:
    session = await api.session()
    token = await token_of(api, session)
    request_id = await api.prompt(session, "hello")
    async with nobody.events(session, token=token) as reader:
        assert (await reader.read_to_end())[-1].event == "agent_end"
    async with server.socket(session, token=token, since=0) as socket:
        assert (await socket.run_end(request_id))["event"] == "agent_end"


async def test_a_socket_with_a_token_may_ping_and_nothing_else(api: Client, server: LiveServer) -> None:
    session = await api.session()
    async with server.socket(session, token=await token_of(api, session)) as socket:
        for action in ("prompt", "approve", "reject", "respond", "tool_result", "abort", "steer"):
            assert (await socket.ask(action, text="x"))["error"] == "forbidden"
        assert (await socket.ask("ping"))["ok"]
    assert await api.log(session) == []


async def test_a_token_opens_nothing_but_its_sessions_stream(api: Client, nobody: Client, server: LiveServer) -> None:
    session, other = await api.session(), await api.session(groupId="g")
    token = await token_of(api, session)
    for path in (f"/v1/sessions/{session}", f"/v1/sessions/{session}/messages", "/v1/sessions", "/v1/groups/g/events"):
        assert (await nobody.get(f"{path}?token={token}")).error == (401, "unauthorized")
    assert (await nobody.post(f"/v1/sessions/{session}/prompt?token={token}", {"text": "x"})).status == 401
    assert (await nobody.get(f"/v1/sessions/{other}/events?token={token}")).error == (401, "unauthorized")
    assert await refusal_of(server, other, token=token) == (401, "unauthorized")


@pytest.mark.parametrize("token", ["nonsense", "agt_", "%00", "漢"])
async def test_a_token_that_is_none_is_refused(api: Client, server: LiveServer, token: str) -> None:
    session = await api.session()
    status, _ = await refusal_of(server, session, token=token)
    assert status == 401


async def test_the_first_connection_has_to_be_made_within_a_minute(
    api: Client, nobody: Client, server: LiveServer
) -> None:
    session = await api.session()
    answer = (await api.post(f"/v1/sessions/{session}/stream-token")).json
    token = await database.run(StreamToken.objects.get)
    assert token.expires_at - token.created_at <= timedelta(seconds=60)
    assert answer["expiresAt"] == clock.iso_ms(token.expires_at)
    await database.run(expire)
    assert await refusal_of(server, session, token=answer["token"]) == (401, "unauthorized")
    assert (await nobody.get(f"/v1/sessions/{session}/events?token={answer['token']}")).status == 401


async def test_after_it_the_token_is_good_for_twelve_hours(api: Client, server: LiveServer) -> None:
    session = await api.session()
    token = await token_of(api, session)
    async with server.socket(session, token=token):
        row = await database.run(StreamToken.objects.get)
        assert timedelta(hours=11, minutes=59) < row.expires_at - clock.now() <= timedelta(hours=12)
    async with server.socket(session, token=token) as again:
        assert (await again.ask("ping"))["ok"]
        assert (await database.run(StreamToken.objects.get)).expires_at == row.expires_at
    await database.run(expire)
    assert await refusal_of(server, session, token=token) == (401, "unauthorized")


async def test_a_token_ends_with_the_key_that_asked_for_it(
    gateway: GatewayHarness, server: LiveServer, tenant: Tenant, settings: Any
) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS, settings.GATEWAY_KEY_CACHE_SECONDS = 0.1, 0.0
    issuer = await database.run(caller, tenant, SCOPES)
    client = gateway.client(issuer)
    session = await client.session()
    token = await token_of(client, session)
    async with server.socket(session, token=token) as socket:
        assert (await socket.ask("ping"))["ok"]
        await database.run(lambda: api_key_revoke(key=key_of(issuer)))
        assert await socket.close_code() == 4501
    assert await refusal_of(server, session, token=token) == (401, "unauthorized")


async def test_a_token_is_no_more_than_its_key_has_become(
    gateway: GatewayHarness, server: LiveServer, tenant: Tenant, settings: Any
) -> None:
    settings.GATEWAY_KEY_CACHE_SECONDS = 0.0
    issuer = await database.run(caller, tenant, [SESSIONS])
    client = gateway.client(issuer)
    session = await client.session()
    token = await token_of(client, session)
    await database.run(unscope, issuer)
    assert await refusal_of(server, session, token=token) == (403, "forbidden")


async def test_who_may_not_read_the_session_gets_no_token(
    api: Client, gateway: GatewayHarness, colleague: Caller, stranger: Caller
) -> None:
    session = await api.session()
    path = f"/v1/sessions/{session}/stream-token"
    assert (await gateway.client(colleague).post(path)).error == (403, "forbidden")
    assert (await gateway.client(stranger).post(path)).error == (404, "session_not_found")
    assert (await gateway.client(None).post(path)).error == (401, "unauthorized")


async def test_a_token_is_stored_as_a_hash_and_goes_when_it_has_expired(api: Client) -> None:
    session = await api.session()
    token = await token_of(api, session)
    row = await database.run(lambda: StreamToken.objects.values().get())
    assert token not in str(row)
    await database.run(expire)
    await token_of(api, session)
    assert await database.run(StreamToken.objects.count) == 1


async def test_an_answer_with_a_token_is_not_to_be_kept(api: Client) -> None:
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/stream-token")
    assert answer.headers["cache-control"] == "no-store"
