"""The platform API: infrastructure as code sets up tenants, keys, people, providers, prices and budgets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core_app import clock, database
from core_app.clock import iso_ms
from inference_app.models import Budget, Price, Provider
from sessions_app.models import AgentSession
from tenants_app.models import AuditEntry, Tenant, User
from tenants_app.principal import TENANT_SCOPES
from tests.conftest import Caller, caller
from tests.gateway_harness import Answer, Client, GatewayHarness, api, gateway

__all__ = ["api", "gateway"]

pytestmark = pytest.mark.django_db(transaction=True)

TENANTS = "/v1/platform/tenants"
SECRET = "sk-only-the-provider-knows"


async def put(api: Client, path: str, body: Any) -> Answer:
    return await api.ask("PUT", path, body)


async def audited(action: str) -> list[AuditEntry]:
    return await database.run(lambda: list(AuditEntry.objects.filter(action=action).order_by("pk")))


async def test_a_tenants_own_administrator_is_no_operator(gateway: GatewayHarness, tenant: Tenant) -> None:
    administrator = gateway.client(await database.run(caller, tenant, TENANT_SCOPES))
    assert (await administrator.get(TENANTS)).error == (403, "forbidden")
    assert (await administrator.post(TENANTS, {"slug": "mine"})).error == (403, "forbidden")
    assert (await administrator.post("/v1/platform/providers/openai/test")).error == (403, "forbidden")


async def test_the_same_put_twice_makes_one_tenant(api: Client) -> None:
    body = {"name": "Acme & Sons", "settings": {"rpm": 300, "default_model": "demo:tour"}}
    made, again = await put(api, f"{TENANTS}/built", body), await put(api, f"{TENANTS}/built", body)
    assert (made.status, made.headers["location"], again.status) == (201, f"{TENANTS}/built", 200)
    assert made.json == again.json
    assert made.json["settings"] == body["settings"]
    assert [entry.actor for entry in await audited("tenant.create") if entry.target == "built"] == ["key:test key"]


async def test_a_put_replaces_and_a_patch_changes(api: Client) -> None:
    await put(api, f"{TENANTS}/built", {"settings": {"rpm": 1, "max_sessions": 2}})
    changed = await api.patch(f"{TENANTS}/built", {"settings": {"rpm": None, "max_waiting": 3}})
    assert changed.json["settings"] == {"max_sessions": 2, "max_waiting": 3}
    replaced = await put(api, f"{TENANTS}/built", {"settings": {"rpm": 9}, "disabled": True})
    assert (replaced.json["settings"], replaced.json["disabled"]) == ({"rpm": 9}, True)
    assert (await api.patch(f"{TENANTS}/built", {"disabled": False})).json["disabled"] is False


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"settings": {"max_session": 5}}, "settings.max_session", "Did you mean max_sessions?"),
        ({"settings": {"rpm": "many"}}, "settings.rpm", "a whole number"),
        ({"settings": {"rpm": -1}}, "settings.rpm", "negative"),
        ({"settings": {"retention_events_days": 10**9}}, "settings.retention_events_days", "at most"),
        ({"settings": {"allow_private": 1}}, "settings.allow_private", "true or false"),
        ({"settings": []}, "settings", "object"),
        ({"setings": {}}, "setings", "Did you mean settings? There are: "),
        ({"name": 7}, "name", ""),
        ({"disabled": "yes"}, "disabled", ""),
    ],
)
async def test_a_wrong_field_of_a_tenant_is_named(api: Client, body: Any, field: str, words: str) -> None:
    for answer in (await put(api, f"{TENANTS}/acme", body), await api.patch(f"{TENANTS}/acme", body)):
        assert (answer.error, answer.field) == ((400, "bad_request"), field)
        assert words in answer.json["message"]


async def test_a_slug_that_is_taken_or_none_is_named(api: Client) -> None:
    taken = await api.post(TENANTS, {"slug": "acme"})
    assert (taken.error, taken.field) == ((409, "conflict"), "slug")
    wrong = await put(api, f"{TENANTS}/Not-A-Slug", {})
    assert (wrong.error, wrong.field) == ((400, "bad_request"), "slug")
    assert (await api.get(f"{TENANTS}/nobody")).error == (404, "not_found")


async def test_pages_have_every_tenant_once(api: Client) -> None:
    for number in range(5):
        await api.post(TENANTS, {"slug": f"many-{number}"})
    seen, cursor = [], ""
    while cursor is not None:
        page = (await api.get(f"{TENANTS}?limit=2&cursor={cursor}")).json
        seen += [tenant["slug"] for tenant in page["tenants"]]
        cursor = page["nextCursor"]
    assert [slug for slug in seen if slug.startswith("many-")] == [f"many-{number}" for number in range(5)]
    assert len(seen) == len(set(seen))


async def test_a_key_works_from_its_issue_to_its_revocation(api: Client, gateway: GatewayHarness) -> None:
    await put(api, f"{TENANTS}/built", {})
    issued = await api.post(f"{TENANTS}/built/keys", {"name": "builds", "scopes": ["sessions"], "rpm": 60})
    path = issued.headers["location"]
    assert (issued.status, path) == (201, f"{TENANTS}/built/keys/{issued.json['id']}")
    holder = gateway.client(Caller(issued.json["secret"], None))  # type: ignore[arg-type]  # only its secret is sent
    assert (await holder.post("/v1/sessions", {"model": "demo:echo"})).status == 201
    shown = (await api.get(path)).json
    assert "secret" not in shown
    assert (shown["state"], shown["rpm"], shown["expiresAt"]) == ("active", 60, None)
    rotated = await api.post(f"{path}/rotate")
    assert (await holder.get("/v1/sessions")).status == 401
    holder = gateway.client(Caller(rotated.json["secret"], None))  # type: ignore[arg-type]
    assert (await holder.get("/v1/sessions")).status == 200
    assert (await api.delete(path)).status == 204
    assert (await holder.get("/v1/sessions")).status == 401
    assert (await api.get(path)).json["state"] == "revoked"
    assert (await api.post(f"{path}/rotate")).error == (409, "conflict")


async def test_a_disabled_tenants_keys_stop_and_work_again(api: Client, gateway: GatewayHarness) -> None:
    await put(api, f"{TENANTS}/built", {})
    secret = (await api.post(f"{TENANTS}/built/keys", {"name": "k", "scopes": ["sessions"]})).json["secret"]
    holder = gateway.client(Caller(secret, None))  # type: ignore[arg-type]
    for disabled, status in ((True, 401), (False, 200)):
        await api.patch(f"{TENANTS}/built", {"disabled": disabled})
        assert (await holder.get("/v1/sessions")).status == status


async def test_a_repeated_issue_gets_the_same_secret_and_stores_it_sealed(api: Client) -> None:
    body, headers = {"name": "once", "scopes": ["sessions"]}, {"Idempotency-Key": "deploy-7"}
    first, again = [await api.post(f"{TENANTS}/acme/keys", body, headers=headers) for _ in range(2)]
    assert (first.json, again.headers["idempotent-replayed"]) == (again.json, "true")
    assert len((await api.get(f"{TENANTS}/acme/keys?name=once")).json["keys"]) == 1
    assert first.json["secret"] not in str([vars(entry) for entry in await audited("api_key.issue")])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["sessions"]}, "name"),
        ({"name": "k"}, "scopes"),
        ({"name": "", "scopes": []}, "name"),
        ({"name": "k", "scopes": ["everything"]}, "scopes"),
        ({"name": "k", "scopes": [], "rpm": -1}, "rpm"),
        ({"name": "k", "scopes": [], "rpm": True}, "rpm"),
        ({"name": "k", "scopes": [], "expiresAt": "soon"}, "expiresAt"),
        ({"name": "k", "scopes": [], "expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
        ({"name": "k", "scopes": [], "expires_at": None}, "expires_at"),
    ],
)
async def test_a_wrong_field_of_a_key_is_named(api: Client, body: Any, field: str) -> None:
    answer = await api.post(f"{TENANTS}/acme/keys", body)
    assert (answer.error, answer.field) == ((400, "bad_request"), field)


async def test_a_patch_of_a_key_leaves_the_rest(api: Client, other_tenant: Tenant) -> None:
    moment = iso_ms(clock.now() + timedelta(days=1))
    made = (await api.post(f"{TENANTS}/acme/keys", {"name": "k", "scopes": ["sessions"], "rpm": 5})).json
    path = f"{TENANTS}/acme/keys/{made['id']}"
    changed = (await api.patch(path, {"expiresAt": moment})).json
    assert {name: value for name, value in changed.items() if value != made[name]} == {"expiresAt": moment}
    for unknown in (f"{TENANTS}/{other_tenant.slug}/keys/{made['id']}", f"{TENANTS}/acme/keys/key_x"):
        assert (await api.get(unknown)).error == (404, "not_found")
        assert (await api.delete(unknown)).error == (404, "not_found")


async def test_an_erased_tenant_has_no_sessions_and_no_keys(api: Client, gateway: GatewayHarness) -> None:
    await put(api, f"{TENANTS}/built", {})
    secret = (await api.post(f"{TENANTS}/built/keys", {"name": "k", "scopes": ["sessions"]})).json["secret"]
    holder = gateway.client(Caller(secret, None))  # type: ignore[arg-type]
    for _ in range(3):
        await holder.post("/v1/sessions", {"model": "demo:echo"})
    erased = await api.delete(f"{TENANTS}/built")
    assert erased.json == {"slug": "built", "sessionsErased": 3, "complete": True}
    assert await database.run(AgentSession.objects.filter(tenant__slug="built").count) == 0
    assert (await api.get(f"{TENANTS}/built/keys?state=active")).json["keys"] == []
    assert (await api.get(f"{TENANTS}/built")).json["disabled"] is True
    assert (await api.delete(f"{TENANTS}/built")).json["sessionsErased"] == 0
    assert [entry.detail["sessions"] for entry in await audited("tenant.erase")] == [3, 0]


async def test_an_erasure_that_takes_its_time_goes_on_with_the_next_request(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faces.platform.views.tenants.ERASE_SECONDS", 0.0)
    monkeypatch.setattr("sessions_app.services.erasure.SESSIONS", 1)
    for _ in range(2):
        await api.post("/v1/sessions", {"model": "demo:echo"})
    await put(api, f"{TENANTS}/operators", {})
    operator_key = await api.post(f"{TENANTS}/operators/keys", {"name": "k", "scopes": ["platform"]})
    operator = Client(Caller(operator_key.json["secret"], None))  # type: ignore[arg-type]
    first, second = [(await operator.delete(f"{TENANTS}/acme")).json for _ in range(2)]
    assert (first["sessionsErased"], first["complete"]) == (1, False)
    assert second["sessionsErased"] == 1
    assert (await operator.delete(f"{TENANTS}/acme")).json["complete"] is True


async def test_a_person_is_added_disabled_and_given_a_password(api: Client) -> None:
    made = await api.post(
        "/v1/platform/users", {"username": "alice", "tenant": "acme", "role": "staff", "scopes": ["approvals"]}
    )
    assert (made.status, made.headers["location"]) == (201, "/v1/platform/users/alice")
    person = await database.run(User.objects.get, username="alice")
    assert await database.run(person.check_password, made.json["password"])
    await api.patch("/v1/platform/users/alice", {"disabled": True, "password": "correct horse battery"})
    await database.run(person.refresh_from_db)
    assert not person.is_active
    assert await database.run(person.check_password, "correct horse battery")
    shown = (await api.get("/v1/platform/users/alice")).json
    assert (shown["role"], shown["tenant"], shown["disabled"]) == ("staff", "acme", True)
    assert "password" not in shown
    assert [user["username"] for user in (await api.get("/v1/platform/users?tenant=acme")).json["users"]] == ["alice"]


@pytest.mark.parametrize(
    ("body", "error", "field"),
    [
        ({"username": "a b"}, (400, "bad_request"), "username"),
        ({"username": "weak", "password": "12345"}, (400, "bad_request"), "password"),
        ({"username": "x", "tenant": "nobody"}, (400, "bad_request"), "tenant"),
        ({"username": "x", "role": "staff"}, (400, "bad_request"), "tenant"),
        ({"username": "x", "role": "king"}, (400, "bad_request"), "role"),
        ({"username": "x", "scopes": ["everything"]}, (400, "bad_request"), "scopes"),
        ({"username": "taken"}, (409, "conflict"), "username"),
    ],
)
async def test_a_wrong_field_of_a_person_is_named(api: Client, body: Any, error: Any, field: str) -> None:
    await database.run(User.objects.create_user, "taken")
    answer = await api.post("/v1/platform/users", body)
    assert (answer.error, answer.field) == (error, field)


async def test_a_provider_is_in_force_as_soon_as_it_is_put(api: Client) -> None:
    entry = {"base_url": "http://127.0.0.1:9/v1", "models": ["one", {"id": "two"}], "headers": {"X-Token": SECRET}}
    made = await put(api, "/v1/platform/providers/mine", {"entry": entry, "key": SECRET})
    assert made.status == 201
    assert (made.json["sources"], made.json["state"], made.json["keyFrom"]) == (["database"], "ready", "stored")
    assert made.json["models"] == ["one", "two"]
    assert SECRET not in made.body.decode() + (await api.get("/v1/platform/providers")).body.decode()
    tested = (await api.post("/v1/platform/providers/mine/test", {"model": "one"})).json
    assert tested["ok"] is False
    assert "127.0.0.1" in tested["message"]
    await put(api, "/v1/platform/providers/mine", made.json["stored"])
    assert (await database.run(Provider.objects.get, name="mine")).entry == entry
    assert (await api.delete("/v1/platform/providers/mine")).status == 204
    assert (await api.get("/v1/platform/providers/mine")).error == (404, "not_found")
    assert (await api.post("/v1/platform/providers/mine/test")).error == (404, "not_found")
    assert SECRET not in str([vars(entry) for entry in await audited("provider.save")])


async def test_a_stored_key_stays_until_it_is_forgotten(api: Client) -> None:
    path, entry = "/v1/platform/providers/deepseek", {"default_model": "deepseek-chat"}
    assert (await put(api, path, {"key": SECRET})).json["sources"] == ["database", "shipped"]
    kept = (await put(api, path, {"entry": entry})).json
    assert (kept["keyFrom"], kept["state"], kept["stored"]["entry"]) == ("stored", "ready", entry)
    off = (await put(api, path, {"enabled": False})).json
    assert (off["state"], off["reason"]) == ("off", "switched off")
    forgotten = (await put(api, path, {"key": None})).json
    assert (forgotten["keyFrom"], forgotten["state"]) == ("DEEPSEEK_API_KEY", "no_key")


@pytest.mark.parametrize(
    ("name", "body", "status", "field"),
    [
        ("mine", {"entry": {"base_ulr": "x"}}, 422, "entry.base_ulr"),
        ("mine", {"entry": {"base_url": "ftp://x", "api_key": "none"}}, 422, "entry"),
        ("mine", {"entry": {"base_url": "http://x", "api_key": "sk-1"}}, 422, "entry.api_key"),
        ("mine", {"entry": {"base_url": "http://x", "api_key_env": "A"}, "key": "k"}, 422, "entry"),
        ("deepseek", {"entry": {"models": 7}}, 422, "entry.models"),
        ("deepseek", {"key": "two\nlines"}, 422, "key"),
        ("deepseek", {"entry": []}, 400, "entry"),
        ("deepseek", {"enabled": "on"}, 400, "enabled"),
        ("No Name", {}, 422, "name"),
    ],
)
async def test_a_wrong_field_of_a_provider_is_named(api: Client, name: str, body: Any, status: int, field: str) -> None:
    answer = await put(api, f"/v1/platform/providers/{name.replace(' ', '%20')}", body)
    assert (answer.status, answer.field) == (status, field)
    assert "sk-1" not in answer.body.decode()
    assert "gateway.yaml" not in answer.body.decode()
    assert not await database.run(Provider.objects.exists)


async def test_a_price_is_set_read_and_removed(api: Client) -> None:
    path = "/v1/platform/prices/openrouter/meta-llama/llama-3"
    made = await put(api, path, {"input": 0.27, "output": 1.1})
    assert (made.status, made.json["model"], made.json["cacheWrite"]) == (201, "meta-llama/llama-3", None)
    replaced = await put(api, path, {"input": 1, "output": 2, "cacheWrite": 3})
    assert (replaced.status, replaced.json["cacheWrite"]) == (200, 3.0)
    assert (await api.get("/v1/platform/prices?provider=openrouter")).json["prices"] == [replaced.json]
    assert (await api.delete(path)).status == 204
    assert (await api.get(path)).error == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("openai/m", {"input": -1, "output": 1}, 400, "input"),
        ("openai/m", {"input": 1}, 400, "output"),
        ("openai/m", {"input": "1", "output": 1}, 400, "input"),
        ("openai/m", {"input": 1e30, "output": 1}, 400, "input"),
        ("openai/m", {"input": 0.0000001, "output": 1}, 400, "input"),
        ("nobody/m", {"input": 1, "output": 1}, 422, "provider"),
        (f"openai/{'m' * 201}", {"input": 1, "output": 1}, 400, "model"),
    ],
)
async def test_a_wrong_price_is_named(api: Client, path: str, body: Any, status: int, field: str) -> None:
    answer = await put(api, f"/v1/platform/prices/{path}", body)
    assert (answer.status, answer.field) == (status, field)
    assert not await database.run(Price.objects.exists)


async def test_the_same_budget_twice_is_one(api: Client) -> None:
    key = (await api.post(f"{TENANTS}/acme/keys", {"name": "k", "scopes": ["inference"]})).json["id"]
    body = {"tenant": "acme", "key": key, "model": "gpt-4o", "period": "day", "tokens": 1000}
    made, again = await put(api, "/v1/platform/budgets", body), await put(api, "/v1/platform/budgets", body)
    assert (made.status, again.status) == (201, 200)
    assert made.json == again.json
    other = await put(api, "/v1/platform/budgets", {"tenant": "acme", "period": "day", "usd": 2.5})
    assert (other.json["key"], other.json["model"], other.json["usd"]) == (None, None, 2.5)
    assert len((await api.get("/v1/platform/budgets?tenant=acme")).json["budgets"]) == 2
    path = f"/v1/platform/budgets/{made.json['id']}"
    assert (await api.get(path)).json == made.json
    assert (await api.delete(path)).status == 204
    assert (await api.get(path)).error == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"tenant": "nobody", "period": "day", "tokens": 1}, 400, "tenant"),
        ({"tenant": "acme", "period": "week", "tokens": 1}, 400, "period"),
        ({"tenant": "acme", "period": "day"}, 422, "tokens"),
        ({"tenant": "acme", "period": "day", "tokens": -1}, 400, "tokens"),
        ({"tenant": "acme", "period": "day", "tokens": 2**63}, 400, "tokens"),
        ({"tenant": "acme", "period": "day", "usd": -1}, 400, "usd"),
        ({"tenant": "acme", "period": "day", "usd": 1, "key": "key_0"}, 400, "key"),
        ({"tenant": "acme", "period": "day", "usd": 1, "key": "x"}, 400, "key"),
    ],
)
async def test_a_wrong_budget_is_named(api: Client, body: Any, status: int, field: str) -> None:
    answer = await put(api, "/v1/platform/budgets", body)
    assert (answer.status, answer.field) == (status, field)
    assert not await database.run(Budget.objects.exists)


async def test_a_budget_is_not_of_another_tenants_key(api: Client, other_tenant: Tenant) -> None:
    key = (await api.post(f"{TENANTS}/acme/keys", {"name": "k", "scopes": ["inference"]})).json["id"]
    body = {"tenant": other_tenant.slug, "key": key, "period": "day", "tokens": 1}
    answer = await put(api, "/v1/platform/budgets", body)
    assert (answer.status, answer.field) == (400, "key")


async def test_the_audit_trail_tells_who_did_what(api: Client) -> None:
    await put(api, f"{TENANTS}/built", {})
    await put(api, "/v1/platform/providers/deepseek", {"key": SECRET})
    entries = (await api.get("/v1/platform/audit")).json["entries"]
    assert [(entry["action"], entry["target"], entry["actor"]) for entry in entries[:2]] == [
        ("provider.save", "deepseek", "key:test key"),
        ("tenant.create", "built", "key:test key"),
    ]
    of_tenant = (await api.get("/v1/platform/audit?tenant=built&action=tenant.create")).json["entries"]
    assert [entry["tenant"] for entry in of_tenant] == ["built"]
    assert (await api.get("/v1/platform/audit?tenant=nobody")).error == (404, "not_found")
    assert (await api.get("/v1/platform/audit?limit=x")).field == "limit"
