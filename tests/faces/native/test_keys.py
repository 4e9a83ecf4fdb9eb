"""/v1/keys: a tenant's administrators issue, rotate and revoke its keys."""

from __future__ import annotations

import pytest

from core_app import database
from tenants_app.models import AuditEntry, Tenant
from tenants_app.principal import ADMIN, SESSIONS, TENANT_SCOPES
from tests.conftest import Caller, caller
from tests.gateway_harness import Client, GatewayHarness, api, gateway

__all__ = ["api", "gateway"]

pytestmark = pytest.mark.django_db(transaction=True)

NEW = {"name": "a service", "scopes": ["sessions"]}


@pytest.fixture
async def admin(gateway: GatewayHarness, tenant: Tenant) -> Client:
    """A key with everything that a tenant's key can have."""
    return gateway.client(await database.run(caller, tenant, TENANT_SCOPES))


def keyed(secret: str) -> dict[str, str]:
    return {"x-api-key": secret}


async def test_a_key_is_issued_and_its_secret_shown_once(admin: Client, gateway: GatewayHarness) -> None:
    made = await admin.post("/v1/keys", {**NEW, "rpm": 60, "expiresAt": "2999-01-01T00:00:00Z"})
    assert made.status == 201, made.body
    assert made.headers["cache-control"] == "no-store"
    secret, key_id = made.json["secret"], made.json["id"]
    assert made.headers["location"] == f"/v1/keys/{key_id}"
    assert (await gateway.client(None).get("/v1/sessions", headers=keyed(secret))).status == 200
    shown = (await admin.get(f"/v1/keys/{key_id}")).json
    assert (shown["state"], shown["scopes"], shown["rpm"]) == ("active", ["sessions"], 60)
    assert (shown["expiresAt"], shown["seeded"]) == ("2999-01-01T00:00:00.000Z", False)
    listed = (await admin.get("/v1/keys")).json
    assert listed["keys"][0]["id"] == key_id
    assert secret.encode() not in (await admin.get("/v1/keys")).body
    assert "secret" not in shown


async def test_a_rotated_key_has_another_secret_and_a_revoked_one_none(admin: Client, gateway: GatewayHarness) -> None:
    made = (await admin.post("/v1/keys", NEW)).json
    path, anybody = f"/v1/keys/{made['id']}", gateway.client(None)
    turned = await admin.post(f"{path}/rotate")
    assert (turned.status, turned.json["secret"] != made["secret"]) == (200, True)
    assert (await anybody.get("/v1/sessions", headers=keyed(made["secret"]))).status == 401
    assert (await anybody.get("/v1/sessions", headers=keyed(turned.json["secret"]))).status == 200
    for _ in range(2):
        assert (await admin.delete(path)).status == 204
    assert (await anybody.get("/v1/sessions", headers=keyed(turned.json["secret"]))).status == 401
    assert (await admin.get(path)).json["state"] == "revoked"
    assert (await admin.post(f"{path}/rotate")).error == (409, "conflict")


async def test_a_repeated_request_issues_one_key(admin: Client) -> None:
    once = {"idempotency-key": "k1"}
    first = await admin.post("/v1/keys", NEW, headers=once)
    again = await admin.post("/v1/keys", NEW, headers=once)
    assert (again.status, again.json) == (201, first.json)
    assert len((await admin.get("/v1/keys")).json["keys"]) == 2


async def test_what_is_done_to_keys_is_in_the_audit_trail(admin: Client, tenant: Tenant) -> None:
    made = (await admin.post("/v1/keys", NEW)).json
    await admin.post(f"/v1/keys/{made['id']}/rotate")
    await admin.delete(f"/v1/keys/{made['id']}")
    entries = await database.run(
        lambda: list(AuditEntry.objects.filter(tenant=tenant, actor="key:test key").values_list("action", flat=True))
    )
    assert {"api_key.issue", "api_key.rotate", "api_key.revoke"} <= set(entries)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": []}, "name"),
        ({"name": "", "scopes": []}, "name"),
        ({"name": "k"}, "scopes"),
        ({"name": "k", "scopes": ["everything"]}, "scopes"),
        ({"name": "k", "scopes": ["sessions"] * 50}, "scopes"),
        ({**NEW, "rpm": -1}, "rpm"),
        ({**NEW, "expiresAt": "soon"}, "expiresAt"),
        ({**NEW, "expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_by_field(admin: Client, body: object, field: str) -> None:
    refused = await admin.post("/v1/keys", body)
    assert (refused.error, refused.field) == ((400, "bad_request"), field)


async def test_nobody_gives_more_than_they_have(gateway: GatewayHarness, tenant: Tenant, api: Client) -> None:
    narrow = gateway.client(await database.run(caller, tenant, [ADMIN, SESSIONS]))
    for scopes in (["platform"], ["inference"], ["sessions", "agents:write"]):
        assert (await narrow.post("/v1/keys", {"name": "k", "scopes": scopes})).error == (403, "forbidden")
    for scopes in (["sessions:read", "questions"], ["webhooks"], ["sessions"]):
        assert (await narrow.post("/v1/keys", {"name": "k", "scopes": scopes})).status == 201
    wide = (await api.post("/v1/keys", {"name": "wide", "scopes": ["platform"]})).json["id"]
    assert (await narrow.post(f"/v1/keys/{wide}/rotate")).status == 403
    assert (await narrow.delete(f"/v1/keys/{wide}")).status == 403


async def test_keys_of_another_tenant_are_like_unknown_ones(
    admin: Client, gateway: GatewayHarness, stranger: Caller
) -> None:
    made = (await admin.post("/v1/keys", NEW)).json["id"]
    foreign = gateway.client(stranger)
    for key_id in (made, "key_999999999", "999999999", "x", "key_" + "1" * 40):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
            answer = await foreign.ask(method, f"/v1/keys/{key_id}{path}")
            assert (answer.error, answer.json["message"]) == ((404, "not_found"), "There is no key with that id.")
    assert made not in [key["id"] for key in (await foreign.get("/v1/keys")).json["keys"]]


async def test_pages_of_keys_follow_one_another(admin: Client) -> None:
    for number in range(3):
        await admin.post("/v1/keys", {**NEW, "name": f"k{number}"})
    first = (await admin.get("/v1/keys?limit=2")).json
    rest = (await admin.get(f"/v1/keys?limit=2&cursor={first['nextCursor']}")).json
    assert [key["name"] for key in first["keys"] + rest["keys"]] == ["k2", "k1", "k0", "test key"]
    assert rest["nextCursor"] is None
