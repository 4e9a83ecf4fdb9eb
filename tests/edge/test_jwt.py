"""Tokens of an issuer in place of keys, on every face, against a key server of the test."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.exceptions import InvalidStatus

from core_app import database
from core_app.errors import BadRequest, Conflict, Unauthorized
from events_app.signals import SIGNALS
from sessions_app.models import AgentSession, Run
from tenants_app import jwt_keys
from tenants_app.authentication import aprincipal_recheck, principal_for_guest
from tenants_app.jwt_issuers import ISSUERS
from tenants_app.jwt_keys import JWK_SETS
from tenants_app.jwt_tokens import aprincipal_for_jwt
from tenants_app.models import Tenant
from tenants_app.services.tenant import tenant_create, tenant_update
from tests.faces.agentbus.bus_client import bus, signed_in
from tests.faces.codelab.ide import ide
from tests.faces.native.conftest import server
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Answer, Client, GatewayHarness, gateway
from tests.key_server import AUDIENCE, ISSUER, KeyServer

__all__ = ["gateway", "server"]

pytestmark = pytest.mark.django_db(transaction=True)

PATHS = ["/v1/sessions", "/v1/models", "/api/v1/sessions", "/api/v1/agents"]
"""Of the native face, the model gateway, Agentbus and Codelab."""


async def configure(owner: Tenant, issuer: KeyServer, **more: Any) -> None:
    named = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": issuer.url, **more}
    await database.run(lambda: tenant_update(tenant=owner, settings={"jwt": named}))


@pytest_asyncio.fixture
async def issuer(gateway: GatewayHarness, tenant: Tenant, settings: Any) -> AsyncIterator[KeyServer]:
    """The issuer that the tenant trusts."""
    async with KeyServer().serving() as serving:
        settings.GATEWAY_USE_JWT_AUTH = True
        await configure(tenant, serving)
        JWK_SETS.reset()
        yield serving


async def ask(gateway: GatewayHarness, token: str, path: str = "/v1/sessions") -> Answer:
    client: Client = gateway.client(None)
    return await client.get(path, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_good_token_is_taken_by_every_face(
    gateway: GatewayHarness, issuer: KeyServer, algorithm: str, path: str
) -> None:
    assert (await ask(gateway, issuer.token(algorithm=algorithm), path)).status == 200
    assert issuer.requests == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": None},
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"nbf": 9_999_999_999},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"exp": []},
        {"iat": 9_999_999_999},
        {"kid": "unknown"},
    ],
)
async def test_a_wrong_claim_is_refused_by_every_face(
    gateway: GatewayHarness, issuer: KeyServer, server: LiveServer, claims: Any
) -> None:
    token = issuer.token(**claims)
    for path in PATHS:
        assert (await ask(gateway, token, path)).status == 401
    await refused_by_sockets(server, token)


async def refused_by_sockets(server: LiveServer, token: str) -> None:
    for given in ({"token": token}, {"headers": {"Authorization": f"Bearer {token}"}}):
        with pytest.raises(InvalidStatus) as error:
            async with ide(server.port, "s", **given):
                pass
        assert error.value.response.status_code == 401
    async with bus(server.port) as client:
        assert not (await client.sign_in(auth_token=token))["ok"]


async def test_sockets_take_tokens(gateway: GatewayHarness, issuer: KeyServer, server: LiveServer) -> None:
    token = issuer.token(scope="sessions")
    async with ide(server.port, "jwt", token=token) as client:
        await client.send("user_message", content="hello")
        assert "hello" in "".join(await client.answer())
    async with signed_in(server.port, token) as client_of_bus:
        assert "jwt" in str(await client_of_bus.call("chat.sessions.list"))


async def test_a_token_is_in_no_log(
    gateway: GatewayHarness, issuer: KeyServer, server: LiveServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    caplog.set_level("INFO", logger="websockets.client")  # the IDE of the test
    good, bad = issuer.token(scope="sessions"), issuer.token(aud="other")
    for token in (good, bad):
        await ask(gateway, token)
        with suppress(InvalidStatus):
            async with ide(server.port, "jwt", token=token) as client:
                await client.send("abort", message_id=1)
                await client.frame("ack")
    assert caplog.records
    for token in (good, bad):
        assert token not in caplog.text
        assert token.rpartition(".")[2] not in caplog.text, "the signature"


async def test_a_session_token_does_not_outlive_the_issuers_token(
    gateway: GatewayHarness, issuer: KeyServer, server: LiveServer
) -> None:
    expiry = time.time() + 600
    async with bus(server.port) as client:
        assert (await client.sign_in(auth_token=issuer.token(scope="sessions", exp=1e15)))["ok"]
    async with bus(server.port) as client:
        response = await client.sign_in(auth_token=issuer.token(scope="sessions", exp=expiry))
        assert response["ok"]
        assert response["payload"]["auth_info"]["expires_at"] < expiry + 60
    session_token = response["payload"]["auth_info"]["session_id"]
    async with bus(server.port) as client:
        assert not (await client.sign_in(session_token=session_token))["ok"]


async def test_a_small_difference_of_clocks_is_put_up_with(gateway: GatewayHarness, issuer: KeyServer) -> None:
    assert (await ask(gateway, issuer.token(exp=time.time() - 5))).status == 200
    assert (await ask(gateway, issuer.token(exp=time.time() - 60))).status == 401


async def test_only_the_issuers_signature_counts(
    gateway: GatewayHarness, issuer: KeyServer, server: LiveServer
) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert (await ask(gateway, issuer.token(key=stranger))).status == 401
    public = issuer.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    bad = [
        forged(issuer, "none", b""),
        forged(issuer, "HS256", public),
        forged(issuer, "HS256", issuer.jwks),
        issuer.token()[:-6] + "AAAAAA",
        issuer.token(algorithm="ES256", kid="one"),
    ]
    for token in bad:
        for path in PATHS:
            assert (await ask(gateway, token, path)).status == 401
        await refused_by_sockets(server, token)


def forged(issuer: KeyServer, algorithm: str, secret: bytes) -> str:
    """Returns a token whose header names another algorithm, signed with the public key where it needs a secret."""
    header = part({"alg": algorithm, "typ": "JWT", "kid": issuer.kid})
    body = part({"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 600, "scope": "api:read"})
    mark = hmac.new(secret, f"{header}.{body}".encode(), hashlib.sha256).digest() if secret else b""
    return f"{header}.{body}.{base64.urlsafe_b64encode(mark).decode().rstrip('=')}"


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def test_a_rotated_key_is_fetched_and_made_up_names_cause_no_load(
    gateway: GatewayHarness, issuer: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = issuer.token()
    assert (await ask(gateway, former)).status == 200
    issuer.rsa, issuer.kid = rsa.generate_private_key(public_exponent=65537, key_size=2048), "two"
    for number in range(5):
        await ask(gateway, issuer.token(kid=f"made-up-{number}"))
    assert issuer.requests == 1, "not again so soon"
    monkeypatch.setattr(jwt_keys, "REFETCH_SECONDS", 0.0)
    assert (await ask(gateway, issuer.token())).status == 200
    assert (await ask(gateway, former)).status == 401, "the former key was withdrawn"


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"keys": 5}', b'{"keys": []}', b"x" * 300_000])
async def test_a_hostile_key_server_lets_nobody_in(gateway: GatewayHarness, issuer: KeyServer, body: bytes) -> None:
    issuer.body = body
    assert (await ask(gateway, issuer.token())).status == 503


async def test_a_silent_key_server_takes_nothing_from_those_whose_keys_are_known(
    gateway: GatewayHarness, issuer: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ask(gateway, issuer.token())).status == 200
    issuer.status = 500
    monkeypatch.setattr(jwt_keys, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(jwt_keys, "REFETCH_SECONDS", 0.0)
    assert (await ask(gateway, issuer.token())).status == 200
    monkeypatch.setattr(jwt_keys, "STALE_SECONDS", -1.0)
    assert (await ask(gateway, issuer.token())).status == 503


async def test_scopes_are_the_tokens_and_never_those_of_administrators(
    gateway: GatewayHarness, issuer: KeyServer
) -> None:
    assert (await ask(gateway, issuer.token(scope="inference"), "/v1/sessions")).status == 403
    assert (await ask(gateway, issuer.token(scope=["sessions"]), "/v1/sessions")).status == 200
    assert (await ask(gateway, issuer.token(scope="admin platform operator"), "/v1/sessions")).status == 403
    assert (await ask(gateway, issuer.token(scope=None), "/v1/sessions")).status == 403


async def test_it_is_off_by_default(gateway: GatewayHarness, issuer: KeyServer, settings: Any) -> None:
    settings.GATEWAY_USE_JWT_AUTH = False
    assert (await ask(gateway, issuer.token())).status == 401
    assert issuer.requests == 0


async def test_a_token_ends_what_it_opened(tenant: Tenant) -> None:
    principal = await database.run(
        lambda: principal_for_guest(tenant, guest="jwt", name="ann", scopes=frozenset({"sessions"}))
    )
    assert principal is not None
    assert await aprincipal_recheck(replace(principal, expires_at=time.time() + 60))
    with pytest.raises(Unauthorized):
        await aprincipal_recheck(replace(principal, expires_at=time.time() - 1))


async def test_a_huge_key_set_is_not_read(gateway: GatewayHarness, issuer: KeyServer) -> None:
    issuer.body = issuer.jwks + b" " * jwt_keys.MAX_BYTES  # good but for its size
    assert (await ask(gateway, issuer.token())).status == 503


async def test_a_key_server_cannot_send_the_gateway_elsewhere(gateway: GatewayHarness, issuer: KeyServer) -> None:
    issuer.status, issuer.headers = 302, {"Location": "/elsewhere"}
    assert (await ask(gateway, issuer.token())).status == 503
    assert (issuer.requests, issuer.escapes) == (1, 0)


async def test_a_key_server_that_says_nothing_is_given_up_and_not_asked_again_soon(
    gateway: GatewayHarness, issuer: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwt_keys, "FETCH_SECONDS", 0.05)
    issuer.silent = True
    for _ in range(3):
        answer = await ask(gateway, issuer.token())
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert issuer.requests == 1


async def test_a_key_that_is_for_encryption_signs_nothing(gateway: GatewayHarness, issuer: KeyServer) -> None:
    keys = json.loads(issuer.jwks)["keys"]
    issuer.body = json.dumps({"keys": [{**key, "use": "enc"} for key in keys]}).encode()
    assert (await ask(gateway, issuer.token())).status == 401


async def test_tenants_that_share_an_issuer_are_told_apart_by_a_claim(
    gateway: GatewayHarness, issuer: KeyServer, tenant: Tenant
) -> None:
    other = await database.run(lambda: tenant_create(slug="other"))
    await configure(tenant, issuer, claims={"tenant": "org"}, tenant="org-1")
    await configure(other, issuer, claims={"tenant": "org"})
    for org, slug in (("org-1", tenant.slug), ("other", "other")):
        token = issuer.token(org=org, scope="sessions")
        made = await gateway.client(None).post(
            "/v1/sessions", {"model": "demo:echo"}, headers={"Authorization": f"Bearer {token}"}
        )
        assert made.status == 201
        assert await database.run(session_tenant, made.json["sessionId"]) == slug
    wrong: list[Any] = ["nobody", "", None, ["org-1"], 1, tenant.slug]
    for claim in wrong:
        assert (await ask(gateway, issuer.token(org=claim))).status == 401, claim


def session_tenant(session_id: str) -> str:
    return AgentSession.objects.select_related("tenant").get(public_id=session_id).tenant.slug


@pytest.mark.parametrize(
    "theirs",
    [
        {},
        {"claims": {"tenant": "org"}, "tenant": "org-1"},
        {"claims": {"tenant": "another"}, "tenant": "org-2"},
    ],
)
async def test_a_tenants_settings_cannot_claim_anothers_tokens(
    gateway: GatewayHarness, issuer: KeyServer, tenant: Tenant, theirs: Any
) -> None:
    """Refused when they are set; stored all the same, such tokens belong to nobody."""
    other = await database.run(lambda: tenant_create(slug="other"))
    await configure(tenant, issuer, claims={"tenant": "org"}, tenant="org-1")
    with pytest.raises(Conflict):
        await configure(other, issuer, **theirs)
    named = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": issuer.url, **theirs}
    token = issuer.token(org="org-1", another="org-2")
    assert (await ask(gateway, token)).status == 200
    await database.run(lambda: Tenant.objects.filter(pk=other.pk).update(settings={"jwt": named}))
    gateway_forget()
    assert (await ask(gateway, token)).status == 401


def gateway_forget() -> None:
    """Does what the passing of GATEWAY_KEY_CACHE_SECONDS does."""
    ISSUERS.clear()


async def test_the_gateways_issuer_serves_every_tenant_only_with_a_claim(
    gateway: GatewayHarness, issuer: KeyServer, tenant: Tenant, settings: Any
) -> None:
    await database.run(lambda: tenant_update(tenant=tenant, settings={}))
    await database.run(default_tenant)
    settings.GATEWAY_JWT_ISSUER, settings.GATEWAY_JWT_AUDIENCE = ISSUER, AUDIENCE
    settings.GATEWAY_JWT_JWKS_URL = issuer.url
    gateway_forget()
    token = issuer.token(tenant=tenant.slug, scope="sessions")
    bearer = {"Authorization": f"Bearer {token}"}
    made = await gateway.client(None).post("/v1/sessions", {"model": "demo:echo"}, headers=bearer)
    assert await database.run(session_tenant, made.json["sessionId"]) == "default"
    settings.GATEWAY_JWT_TENANT_CLAIM = "tenant"
    gateway_forget()
    made = await gateway.client(None).post("/v1/sessions", {"model": "demo:echo"}, headers=bearer)
    assert await database.run(session_tenant, made.json["sessionId"]) == tenant.slug
    wrong: list[Any] = [None, "", "nobody", ["default"]]
    for claim in wrong:
        assert (await ask(gateway, issuer.token(tenant=claim))).status == 401, claim


def default_tenant() -> None:
    if not Tenant.objects.filter(slug="default").exists():
        tenant_create(slug="default")


async def test_the_prompts_of_a_token_are_its_end_users(
    gateway: GatewayHarness, issuer: KeyServer, tenant: Tenant
) -> None:
    await configure(tenant, issuer, claims={"end_user": "email"})
    client, token = gateway.client(None), issuer.token(email="ann@example.com", scope="sessions")
    bearer = {"Authorization": f"Bearer {token}"}
    made = (await client.post("/v1/sessions", {"model": "demo:echo"}, headers=bearer)).json["sessionId"]
    body = {"text": "hello", "endUser": "somebody-else"}
    assert (await client.post(f"/v1/sessions/{made}/prompt", body, headers=bearer)).status == 202
    assert await database.run(lambda: Run.objects.get(session__public_id=made).end_user) == "ann@example.com"
    assert (await ask(gateway, issuer.token())).status == 401, "a token without its person"
    await gateway.wait_idle()


async def test_scopes_of_the_issuer_stand_for_those_of_the_gateway(
    gateway: GatewayHarness, issuer: KeyServer, tenant: Tenant
) -> None:
    await configure(tenant, issuer, claims={"scope": "roles"}, scopes={"developer": ["sessions"]})
    assert (await ask(gateway, issuer.token(roles=["developer"]))).status == 200
    assert (await ask(gateway, issuer.token(roles=["developer"]), "/v1/models")).status == 403
    assert (await ask(gateway, issuer.token(roles=["guest"]))).status == 403


@pytest.mark.parametrize(
    "setting",
    [
        {"issuer": ISSUER},
        {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": 5},
        {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "u", "claims": {"admin": "x"}},
        {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "u", "scopes": {"x": ["admin"]}},
        {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "u", "scopes": {"x": "sessions"}},
        {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "u", "secret": "x"},
    ],
)
def test_a_setting_of_another_form_is_refused(tenant: Tenant, setting: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        tenant_update(tenant=tenant, settings={"jwt": setting})
    assert "'jwt'" in refused.value.message


async def signals_arrive() -> None:
    """Waits until the signals sent before have arrived: one of a change to the tenant forgets what was looked up."""
    arrived = asyncio.Event()

    def receive(signal: Mapping[str, Any]) -> None:
        arrived.set()

    SIGNALS.subscribe("test", receive)
    try:
        while not arrived.is_set():
            SIGNALS.send("test", {})
            with suppress(TimeoutError):
                await asyncio.wait_for(arrived.wait(), 1)
    finally:
        SIGNALS.unsubscribe("test", receive)


async def test_a_token_costs_no_query_and_a_change_counts_at_once(
    gateway: GatewayHarness, issuer: KeyServer, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.GATEWAY_KEY_CACHE_SECONDS = 600.0
    await signals_arrive()
    await aprincipal_for_jwt(issuer.token())

    async def no_query(*args: Any) -> Any:
        raise AssertionError("a query")

    with monkeypatch.context() as patched:
        patched.setattr(database, "run", no_query)
        assert (await aprincipal_for_jwt(issuer.token())).tenant_id == tenant.pk
        for name in ("https://made-up.example", "https://another.example"):
            with pytest.raises(Unauthorized):
                await aprincipal_for_jwt(issuer.token(iss=name))
    await database.run(lambda: tenant_update(tenant=tenant, settings={}))
    with pytest.raises(Unauthorized):
        await aprincipal_for_jwt(issuer.token())
    await configure(tenant, issuer)
    await aprincipal_for_jwt(issuer.token())
    await database.run(lambda: tenant_update(tenant=tenant, disabled=True))
    with pytest.raises(Unauthorized):
        await aprincipal_for_jwt(issuer.token())
