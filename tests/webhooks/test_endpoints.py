"""Webhook endpoints over REST: permissions, validation, and secrets that are shown once."""

from __future__ import annotations

from typing import Any

import pytest

from core_app import database
from core_app.sealing import unseal
from events_app.models import WebhookDelivery, WebhookEndpoint
from events_app.webhooks.services import MAX_ENDPOINTS
from sessions_app.events import WEBHOOK_EVENTS
from tenants_app.models import AuditEntry, IdempotencyRecord, Tenant
from tenants_app.principal import SCOPES
from tests.conftest import Caller, caller
from tests.gateway_harness import Client, GatewayHarness
from tests.webhooks.conftest import hook
from tests.webhooks.receiver import Receiver, fixed_reply

pytestmark = pytest.mark.django_db(transaction=True)

URL = "https://hooks.example.com/in?token=confidential"
GIVEN = {"url": URL, "events": ["agent_end", "approval_required"], "description": "The ticket system"}


async def audit_entries() -> list[tuple[str, str, str]]:
    entries = AuditEntry.objects.filter(action__startswith="webhook.").order_by("pk")
    return await database.run(lambda: list(entries.values_list("action", "actor", "target")))


async def test_a_webhook_is_made_with_a_secret_that_is_shown_once(api: Client) -> None:
    made = await api.post("/v1/webhooks", GIVEN)
    assert (made.status, made.headers["location"]) == (201, f"/v1/webhooks/{made.json['id']}")
    secret = made.json["secret"]
    assert secret.startswith("whsec_")
    shown = {name: value for name, value in made.json.items() if name != "secret"}
    assert shown == shown | {
        "url": URL,
        "events": ["approval_required", "agent_end"],
        "description": "The ticket system",
        "disabledAt": None,
        "disabledReason": None,
        "formerSecretUntil": None,
    }
    assert (await api.get(f"/v1/webhooks/{made.json['id']}")).json == shown
    assert (await api.get("/v1/webhooks")).json == {"webhooks": [shown]}
    stored = await database.run(WebhookEndpoint.objects.get)
    assert secret not in stored.secret
    assert unseal(stored.secret) == secret


async def test_a_repeated_creation_gets_the_same_answer_which_is_stored_sealed(api: Client) -> None:
    key = {"Idempotency-Key": "once"}
    first = await api.post("/v1/webhooks", GIVEN, headers=key)
    again = await api.post("/v1/webhooks", GIVEN, headers=key)
    assert (again.status, again.json) == (201, first.json)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert len((await api.get("/v1/webhooks")).json["webhooks"]) == 1
    record = await database.run(IdempotencyRecord.objects.get)
    assert first.json["secret"] not in record.body
    path = f"/v1/webhooks/{first.json['id']}/rotate"
    rotated = await api.post(path, headers=key)
    assert (await api.post(path, headers=key)).json["secret"] == rotated.json["secret"] != first.json["secret"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": "https://[::1]/"}, "url"),
        ({"url": "https://user:word@hooks.example.com/"}, "url"),
        ({"url": "ftp://hooks.example.com/"}, "url"),
        ({"url": "hooks"}, "url"),
        ({"url": 7}, "url"),
        ({"url": ""}, "url"),
        ({"url": "https://hooks.example.com/" + "x" * 4000}, "url"),
        ({"events": []}, "events"),
        ({"events": ["message_delta"]}, "events"),
        ({"events": ["agent_end", "nothing"]}, "events"),
        ({"events": "agent_end"}, "events"),
        ({"description": "x" * 201}, "description"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(api: Client, changed: dict[str, Any], field: str) -> None:
    refused = await api.post("/v1/webhooks", {**GIVEN, **changed})
    assert refused.error == (400, "bad_request")
    assert (refused.field or "").partition(".")[0] == field
    made = await api.post("/v1/webhooks", GIVEN)
    refused = await api.patch(f"/v1/webhooks/{made.json['id']}", changed)
    assert (refused.error, (refused.field or "").partition(".")[0]) == ((400, "bad_request"), field)


@pytest.mark.parametrize("missing", ["url", "events"])
async def test_address_and_types_have_to_be_given(api: Client, missing: str) -> None:
    refused = await api.post("/v1/webhooks", {name: value for name, value in GIVEN.items() if name != missing})
    assert (refused.error, refused.field) == ((400, "bad_request"), missing)


async def test_a_tenant_that_may_call_inside_may_have_webhooks_there(gateway: GatewayHarness, tenant: Tenant) -> None:
    def allow() -> Caller:
        tenant.settings = {"allow_private": True}
        tenant.save()
        return caller(tenant, SCOPES)

    api = gateway.client(await database.run(allow))
    assert (await api.post("/v1/webhooks", {**GIVEN, "url": "http://127.0.0.1:1/"})).status == 201


async def test_a_tenant_has_so_many_webhooks_and_no_more(api: Client) -> None:
    for _ in range(MAX_ENDPOINTS):
        assert (await api.post("/v1/webhooks", GIVEN)).status == 201
    assert (await api.post("/v1/webhooks", GIVEN)).error == (409, "conflict")


OPERATIONS = [
    ("GET", ""),
    ("PATCH", ""),
    ("POST", "/rotate"),
    ("POST", "/test"),
    ("POST", "/redeliver"),
    ("GET", "/deliveries"),
    ("POST", "/deliveries/{delivery}/redeliver"),
    ("DELETE", ""),
]


@pytest.mark.parametrize(("method", "rest"), OPERATIONS)
async def test_others_cannot_reach_a_webhook(
    api: Client, gateway: GatewayHarness, colleague: Caller, stranger: Caller, method: str, rest: str
) -> None:
    made = (await api.post("/v1/webhooks", GIVEN)).json["id"]
    delivery = (await api.post(f"/v1/webhooks/{made}/test")).json["id"]
    body = {"description": "theirs"} if method == "PATCH" else {}
    path = f"/v1/webhooks/{made}" + rest.format(delivery=delivery)
    unknown = f"/v1/webhooks/whk_none{rest.format(delivery=delivery)}"
    strange = gateway.client(stranger)
    assert (await gateway.client(colleague).ask(method, path, body)).error == (403, "forbidden")
    assert (await strange.ask(method, path, body)).error == (404, "not_found")
    assert (await strange.ask(method, unknown, body)).error == (404, "not_found")
    assert (await gateway.client(None).ask(method, path, body)).error == (401, "unauthorized")
    assert (await api.get(f"/v1/webhooks/{made}")).json["description"] == GIVEN["description"]


async def test_a_scope_other_than_admin_is_not_enough(
    gateway: GatewayHarness, tenant: Tenant, stranger: Caller
) -> None:
    others = [scope for scope in SCOPES if scope not in ("admin", "webhooks")]
    client = gateway.client(await database.run(caller, tenant, others))
    assert (await client.get("/v1/webhooks")).error == (403, "forbidden")
    assert (await client.post("/v1/webhooks", GIVEN)).error == (403, "forbidden")
    assert (await gateway.client(stranger).get("/v1/webhooks")).json == {"webhooks": []}


async def test_a_delivery_of_another_webhook_is_unknown(api: Client) -> None:
    first, second = [(await api.post("/v1/webhooks", GIVEN)).json["id"] for _ in range(2)]
    delivery = (await api.post(f"/v1/webhooks/{first}/test")).json["id"]
    answer = await api.post(f"/v1/webhooks/{second}/deliveries/{delivery}/redeliver")
    assert answer.error == (404, "not_found")


async def test_a_webhook_can_be_changed_and_switched_off_and_on(api: Client) -> None:
    made = (await api.post("/v1/webhooks", GIVEN)).json
    path = f"/v1/webhooks/{made['id']}"
    moved = (await api.patch(path, {"url": "https://new.example.com/", "events": ["ask_user"]})).json
    assert (moved["url"], moved["events"], moved["description"]) == (
        "https://new.example.com/",
        ["ask_user"],
        GIVEN["description"],
    )
    off = (await api.patch(path, {"disabled": True})).json
    assert (off["disabledReason"], off["disabledAt"] is None) == ("paused", False)
    on = (await api.patch(path, {"disabled": False})).json
    assert (on["disabledReason"], on["disabledAt"]) == (None, None)


async def test_what_is_done_to_webhooks_is_audited_without_secrets(api: Client, receiver: Receiver) -> None:
    made = (await api.post("/v1/webhooks", GIVEN)).json
    path = f"/v1/webhooks/{made['id']}"
    rotated = (await api.post(f"{path}/rotate")).json
    await api.patch(path, {"events": list(WEBHOOK_EVENTS)})
    await api.delete(path)
    assert await audit_entries() == [
        (action, "key:test key", made["id"])
        for action in ("webhook.create", "webhook.rotate", "webhook.change", "webhook.delete")
    ]
    details = await database.run(lambda: str(list(AuditEntry.objects.values_list("detail", flat=True))))
    assert "hooks.example.com" in details
    for secret in (made["secret"], rotated["secret"], "confidential"):
        assert secret not in details


async def test_a_deleted_webhook_takes_its_deliveries_along(api: Client, receiver: Receiver) -> None:
    receiver.otherwise = fixed_reply(500)
    mine, other = await hook(api, receiver), await hook(api, receiver)
    await api.run(await api.session(), "hello")
    assert (await api.delete(mine.path)).status == 204
    assert (await api.get(mine.path)).error == (404, "not_found")
    left = await database.run(lambda: set(WebhookDelivery.objects.values_list("endpoint__public_id", flat=True)))
    assert left == {other.id}


async def test_deliveries_are_listed_in_pages_and_by_status(api: Client, receiver: Receiver) -> None:
    mine = await hook(api, receiver)
    made = [(await api.post(f"{mine.path}/test")).json["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await api.get(f"{mine.path}/deliveries?limit=2&cursor={cursor}")).json
        seen += [delivery["id"] for delivery in page["deliveries"]]
        cursor = page["nextCursor"]
    assert seen == sorted(made, reverse=True)
    assert (await api.get(f"{mine.path}/deliveries?status=dead")).json["deliveries"] == []
    assert (await api.get(f"{mine.path}/deliveries?status=lost")).field == "status"
    assert (await api.get(f"{mine.path}/deliveries?cursor={'x' * 41}")).field == "cursor"
    assert (await api.get(f"{mine.path}/deliveries?limit=x")).field == "limit"
