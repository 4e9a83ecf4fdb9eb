"""Tokens of an issuer in place of keys, on several faces, against a key server of the test."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from core_app import database
from core_app.errors import Unauthorized
from tenants_app import jwt_keys
from tenants_app.authentication import aprincipal_recheck, principal_for_guest
from tenants_app.jwt_keys import JWK_SETS
from tenants_app.models import Tenant
from tenants_app.services.tenant import tenant_update
from tests.gateway_harness import Answer, Client, GatewayHarness, gateway

__all__ = ["gateway"]

pytestmark = pytest.mark.django_db(transaction=True)

ISSUER, AUDIENCE = "https://issuer.example", "gateway"


class KeyServer:
    """An issuer: it signs tokens and serves its key set, or whatever the test says instead."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.kid = "one"
        self.body: bytes | None = None
        self.status = 200
        self.requests = 0
        self.url = ""

    @property
    def jwks(self) -> bytes:
        rsa_key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.rsa.public_key()))
        ec_key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.ec.public_key()))
        return json.dumps({"keys": [{**rsa_key, "kid": self.kid}, {**ec_key, "kid": "ec"}]}).encode()

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        return web.Response(status=self.status, body=self.jwks if self.body is None else self.body)

    def token(self, *, algorithm: str = "RS256", key: Any = None, kid: str | None = None, **claims: Any) -> str:
        whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 600, "scope": "api:read"} | claims
        signing = key or (self.ec if algorithm == "ES256" else self.rsa)
        named = kid or ("ec" if algorithm == "ES256" else self.kid)
        shown = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(shown, signing, algorithm=algorithm, headers={"kid": named})


@pytest_asyncio.fixture
async def issuer(gateway: GatewayHarness, tenant: Tenant, settings: Any) -> AsyncIterator[KeyServer]:
    """The issuer that the tenant trusts."""
    server = KeyServer()
    application = web.Application()
    application.router.add_get("/jwks", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    settings.GATEWAY_USE_JWT_AUTH = True
    named = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": server.url}
    await database.run(lambda: tenant_update(tenant=tenant, settings={"jwt": named}))
    JWK_SETS.reset()
    yield server
    await runner.cleanup()


async def ask(gateway: GatewayHarness, token: str, path: str = "/v1/sessions") -> Answer:
    client: Client = gateway.client(None)
    return await client.get(path, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/models", "/api/v1/sessions"])
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
        {"kid": "unknown"},
    ],
)
async def test_a_wrong_claim_is_refused(gateway: GatewayHarness, issuer: KeyServer, claims: Any) -> None:
    assert (await ask(gateway, issuer.token(**claims))).status == 401


async def test_a_small_difference_of_clocks_is_put_up_with(gateway: GatewayHarness, issuer: KeyServer) -> None:
    assert (await ask(gateway, issuer.token(exp=time.time() - 5))).status == 200
    assert (await ask(gateway, issuer.token(exp=time.time() - 60))).status == 401


async def test_only_the_issuers_signature_counts(gateway: GatewayHarness, issuer: KeyServer) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert (await ask(gateway, issuer.token(key=stranger))).status == 401
    public = issuer.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert (await ask(gateway, forged(issuer, "none", b""))).status == 401
    assert (await ask(gateway, forged(issuer, "HS256", public))).status == 401
    assert (await ask(gateway, issuer.token()[:-6] + "AAAAAA")).status == 401
    assert (await ask(gateway, issuer.token(algorithm="ES256", kid="one"))).status == 401


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
