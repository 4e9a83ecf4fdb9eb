"""The operator's settings in the database, over the file: applied at the next refresh, rejected if invalid, sealed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from core_app import database
from core_app.errors import Unprocessable
from inference_app.catalogue.access import access_replace
from inference_app.catalogue.config import MODELS, models_config
from inference_app.catalogue.overlay import Overlay, overlay_replace
from inference_app.models import Alias, Budget, Price, Provider, Route, TenantModels
from inference_app.operator.operator_settings import OPERATOR_SETTINGS, rows_apply
from inference_app.operator.services import provider_save, row_remove, row_save
from inference_app.spend.budgets import BUDGETS
from tenants_app.models import AuditEntry, Tenant, User
from tests.agents.conftest import Upstream
from tests.conftest import Caller
from tests.faces.inference.conftest import RelayClient, ledger
from tests.fixed_clock import clock_fixed

SECRET = "sk-stored-only-here"


@pytest.fixture(autouse=True)
def _one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the clock so that no budget period ends during a test."""
    clock_fixed(monkeypatch)


@pytest.fixture(autouse=True)
def _rows_forgotten(upstream: Upstream) -> Iterator[None]:
    yield
    overlay_replace(Overlay(), {})
    access_replace({})
    BUDGETS.rules_replace([])
    MODELS.forget()


async def save_row(row: Any, **more: Any) -> None:
    """Saves a database row through its service and refreshes the settings, as every process does."""
    save = provider_save if isinstance(row, Provider) else row_save
    named = {"provider": row} if isinstance(row, Provider) else {"row": row}
    await database.run(lambda: save(**named, actor="test", **more))
    await OPERATOR_SETTINGS.refresh()


async def test_a_provider_of_a_row_is_asked_with_its_stored_key(relay: RelayClient, upstream: Upstream) -> None:
    await save_row(Provider(name="stored", entry={"base_url": upstream.url}), key=SECRET)
    assert (await relay.chat("stored:hello")).status == 200
    assert upstream.requests()[0]["__authorization"] == f"Bearer {SECRET}"
    row = await database.run(Provider.objects.get)
    assert SECRET not in row.sealed_key
    assert SECRET not in repr(models_config())


async def test_a_row_changes_only_what_it_says(relay: RelayClient, upstream: Upstream) -> None:
    await save_row(Provider(name="scripted", entry={"headers": {"X-Team": "rows"}}))
    assert (await relay.chat("scripted:hello")).status == 200
    assert models_config().providers["scripted"].base_url == upstream.url
    await save_row(await database.run(Provider.objects.get), key=SECRET)
    await relay.chat("scripted:hello")
    assert upstream.requests()[-1]["__authorization"] == f"Bearer {SECRET}"


async def test_a_provider_that_is_switched_off_is_skipped(relay: RelayClient) -> None:
    await save_row(Provider(name="scripted", enabled=False))
    assert (await relay.chat("scripted:hello")).json["error"]["code"] == "NO_PROVIDER"


async def test_aliases_routes_and_prices_of_rows_win(relay: RelayClient, upstream: Upstream) -> None:
    await save_row(Alias(name="hello", targets="second:echo"))
    await save_row(Route(prefix="words", providers=["second"]))
    await save_row(Price(provider="second", model="words:3", input=Decimal(1000000), output=Decimal(0)))
    assert (await relay.chat("hello")).json["choices"][0]["message"]["content"] == "Hi"
    assert (await relay.chat("words:3")).headers["x-gateway-provider"] == "second"
    assert [entry.cost_usd for entry in await ledger()] == [None, Decimal(11)]


async def test_prices_of_cache_writes_are_the_rows(relay: RelayClient) -> None:
    price = {"input": Decimal(1), "output": Decimal(2), "cached": Decimal("0.5")}
    await save_row(Price(provider="second", model="m", **price, cache_write=Decimal(3), cache_write_hour=Decimal(4)))
    entry = models_config().providers["second"].model("m")
    assert entry is not None
    assert entry.price is not None
    assert (entry.price.cached, entry.price.cache_write, entry.price.cache_write_hour) == (0.5, 3, 4)


async def test_a_tenant_uses_only_what_it_may(relay: RelayClient, owner: Caller, stranger: Caller) -> None:
    await save_row(TenantModels(tenant_id=owner.principal.tenant_id, patterns=["hello", "second:*"]))
    assert (await relay.chat("hello")).status == 200
    assert (await relay.chat("second:echo")).status == 200
    refused = await relay.chat("scripted:echo")
    assert (refused.status, refused.json["error"]["code"]) == (404, "model_not_found")
    assert [model["id"] for model in (await relay.get("/v1/models")).json["data"]] == ["hello"]
    assert (await RelayClient(stranger).chat("scripted:echo")).status == 200


async def test_a_budget_of_a_row_is_in_force_and_gone_with_it(relay: RelayClient, owner: Caller) -> None:
    await save_row(Budget(tenant_id=owner.principal.tenant_id, period="month", tokens=0))
    assert (await relay.chat("hello")).status == 402
    row = await database.run(Budget.objects.get)
    await database.run(lambda: row_remove(row=row, actor="test"))
    await OPERATOR_SETTINGS.refresh()
    assert (await relay.chat("hello")).status == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "row",
    [
        Provider(name="broken", entry={"base_url": "ftp://x", "api_key": "none"}),
        Provider(name="broken", entry={"base_url": "http://x", "api_key": "none", "wrong_field": 1}),
        *(
            Provider(name="broken", entry={"base_url": base_url, "api_key": "none"})
            for base_url in (
                "http://",
                "http://[::1",
                "http://h:99999",
                "http://a b",
                "http://u:p@h",
                "http://h/v1?v=1",
            )
        ),
        *(
            Provider(name="broken", entry={"base_url": "http://h", "api_key": "none", "headers": headers})
            for headers in ({"X": "a\r\nb: c"}, {"X y": "z"}, {"": "z"})
        ),
        Route(prefix="gpt", providers=["nobody"]),
        Alias(name="x", targets=[]),
        Alias(name="x", targets=[{"weight": 1}]),
        Price(provider="scripted", model="m", input=Decimal(-1), output=Decimal(0)),
    ],
)
def test_a_row_that_would_break_the_configuration_is_refused_in_a_sentence(row: Any) -> None:
    save = provider_save if isinstance(row, Provider) else row_save
    named = {"provider": row} if isinstance(row, Provider) else {"row": row}
    with pytest.raises(Unprocessable, match=r"^Not saved: .*\.$"):
        save(**named, actor="test")
    assert not type(row).objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db
def test_a_row_that_the_database_does_not_take_is_refused_in_a_sentence(upstream: Upstream) -> None:
    entry = {"base_url": upstream.url, "api_key": "none", "timeout": float("inf")}
    with pytest.raises(Unprocessable, match=r"^Not saved: .*\.$"):
        provider_save(provider=Provider(name="endless", entry=entry), actor="test")
    row_save(row=Route(prefix="taken-", providers=["second"]), actor="test")
    with pytest.raises(Unprocessable, match=r"^Not saved: .*\.$"):
        row_save(row=Route(prefix="taken-", providers=["second"]), actor="test")


@pytest.mark.django_db
def test_a_provider_that_a_route_needs_is_not_removed(upstream: Upstream) -> None:
    provider = Provider(name="extra", entry={"base_url": upstream.url, "api_key": "none"})
    provider_save(provider=provider, actor="test")
    row_save(row=Route(prefix="extra-", providers=["extra"]), actor="test")
    with pytest.raises(Unprocessable):
        row_remove(row=provider, actor="test")
    assert Provider.objects.filter(name="extra").exists()


@pytest.mark.django_db
def test_a_file_that_breaks_under_the_rows_leaves_what_was_in_force(settings: Any) -> None:
    row_save(row=Route(prefix="zzz-", providers=["second"]), actor="test")
    rows_apply()
    assert models_config().model_routing["zzz-"] == ("second",)
    path = Path(settings.GATEWAY_CONFIG)
    path.write_text("models: {providers: {}}\n")
    MODELS._checked = 0.0
    assert models_config().model_routing["zzz-"] == ("second",)


@pytest.mark.django_db
def test_the_admin_is_the_superusers_and_never_shows_a_key(upstream: Upstream, tenant: Tenant) -> None:
    boss = User.objects.create_superuser("boss", password="pw")
    staff = User.objects.create_user("staff", password="pw", is_staff=True, tenant=tenant, scopes=["admin"])
    client = Client()
    client.force_login(staff)
    assert client.get("/admin/inference_app/provider/").status_code == 403
    client.force_login(boss)
    entry = f'{{"base_url": "{upstream.url}"}}'
    form = {"name": "made", "entry": entry, "enabled": "on", "key": SECRET}
    assert client.post("/admin/inference_app/provider/add/", form).status_code == 302
    made = Provider.objects.get()
    page = client.get(f"/admin/inference_app/provider/{made.pk}/change/").content.decode()
    assert SECRET not in page
    assert made.sealed_key not in page
    assert SECRET not in str(list(AuditEntry.objects.values()))
    client.post(f"/admin/inference_app/provider/{made.pk}/change/", {**form, "key": "", "entry": '{"base_url": "x"}'})
    made.refresh_from_db()
    assert made.entry == {"base_url": upstream.url}


@pytest.fixture
def boss() -> Client:
    """The operator, signed in to the admin."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password="pw"))
    return client


@pytest.mark.django_db
def test_a_refused_form_keeps_what_was_typed(boss: Client, upstream: Upstream) -> None:
    form = {"prefix": "mine-", "providers": '["nobody-has-this-name"]'}
    answer = boss.post("/admin/inference_app/route/add/", form)
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "Not saved: " in text
    assert "mine-" in text
    assert "nobody-has-this-name" in text
    assert not Route.objects.exists()


@pytest.mark.django_db
def test_a_provider_that_a_route_needs_is_not_removed_from_the_list_either(boss: Client, upstream: Upstream) -> None:
    for name in ("extra", "other"):
        provider_save(provider=Provider(name=name, entry={"base_url": upstream.url, "api_key": "none"}), actor="test")
    row_save(row=Route(prefix="extra-", providers=["extra"]), actor="test")
    chosen = list(Provider.objects.values_list("pk", flat=True))
    page = "/admin/inference_app/provider/"
    data = {"action": "delete_selected", "_selected_action": chosen}
    assert "Are you sure" in boss.post(page, data).content.decode()
    assert Provider.objects.count() == 2
    text = boss.post(page, {**data, "post": "yes"}, follow=True).content.decode()
    assert "Not saved: " in text
    assert Provider.objects.count() == 2
    assert not LogEntry.objects.exists()


@pytest.mark.django_db
def test_the_audit_trail_has_what_was_before_and_what_is_now(upstream: Upstream) -> None:
    price = Price(provider="scripted", model="m", input=Decimal(1), output=Decimal(2))
    row_save(row=price, actor="test")
    price.output = Decimal(3)
    row_save(row=price, actor="test")
    row_remove(row=price, actor="test")
    made, changed, removed = (entry.detail for entry in AuditEntry.objects.order_by("id"))
    assert made["before"] == {}
    assert Decimal(changed["before"]["output"]) == 2
    assert changed["now"]["output"] == "3"
    assert removed == {"before": changed["now"]}


@pytest.mark.django_db
def test_the_audit_trail_of_a_provider_has_neither_key_nor_headers(upstream: Upstream) -> None:
    entry = {"base_url": upstream.url, "headers": {"X-Account": "header-secret-123"}}
    provider = Provider(name="extra", entry=entry)
    provider_save(provider=provider, actor="test", key=SECRET)
    provider_save(provider=provider, actor="test", key="another-key-456")
    first, second = (entry.detail for entry in AuditEntry.objects.order_by("id"))
    assert first["now"]["entry"]["headers"] == ["X-Account"]
    assert second["before"]["key"] != second["now"]["key"]
    told = str([first, second])
    assert [
        secret for secret in (SECRET, "another-key-456", "header-secret-123", provider.sealed_key) if secret in told
    ] == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("page", "said"), [("price", "US dollars for a million tokens"), ("budget", "answered 402"), ("route", "longest")]
)
def test_a_form_says_in_what_unit_and_to_what_end(boss: Client, page: str, said: str) -> None:
    text = boss.get(f"/admin/inference_app/{page}/add/").content.decode()
    assert said in text
    assert ">null</textarea>" not in text


async def test_a_budget_of_an_alias_which_would_never_be_spent_is_refused(relay: RelayClient, owner: Caller) -> None:
    tenant = owner.principal.tenant_id
    with pytest.raises(Unprocessable):
        await save_row(Budget(tenant_id=tenant, period="day", tokens=1, model="resilient"))
    for counted in ("hello", "second:hello", "not-known-yet"):
        await save_row(Budget(tenant_id=tenant, period="day", tokens=1, model=counted))


@pytest.mark.django_db
def test_the_page_of_providers_lists_what_is_in_force(boss: Client, upstream: Upstream) -> None:
    provider_save(provider=Provider(name="deepseek", entry={}), actor="test", key=SECRET)
    page = boss.get("/admin/inference_app/provider/").content.decode()
    rows = dict(re.findall(r'<th scope="row" class="narrow">(?:<a[^>]*>)?([\w-]+)(.*?)</tr>', page, re.DOTALL))
    assert {"deepseek", "openai", "ollama", "demo", "scripted"} <= set(rows)
    assert re.findall(r'<span class="narrow">(\w+)</span>', rows["deepseek"]) == ["database", "shipped"]
    assert "OPENAI_API_KEY" in rows["openai"]
    assert "state-no_key" in rows["openai"]
    assert SECRET not in page
    assert 'value="openai"' in boss.get("/admin/inference_app/provider/add/?name=openai").content.decode()


@pytest.mark.django_db
def test_a_provider_is_set_up_with_fields(boss: Client, upstream: Upstream) -> None:
    typed = {"name": "mine", "base_url": upstream.url, "models": "one\n two \n", "no_key": "on", "enabled": "on"}
    assert boss.post("/admin/inference_app/provider/add/", {**typed, "entry": '{"timeout": 9}'}).status_code == 302
    row = Provider.objects.get()
    assert row.entry == {"base_url": upstream.url, "models": ["one", "two"], "api_key": "none", "timeout": 9}
    form = boss.get(f"/admin/inference_app/provider/{row.pk}/change/").context["adminform"].form
    assert (form["base_url"].initial, form["models"].initial, form["no_key"].initial) == (
        upstream.url,
        "one\ntwo",
        True,
    )
    assert form["entry"].initial == {"timeout": 9}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"name": "Bad Name", "no_key": "on"}, "name"),
        ({"name": "mine", "api_key_env": "sk-123"}, "api_key_env"),
        ({"name": "mine", "no_key": "on", "base_url": "http://x", "entry": '{"base_ulr": "x"}'}, "entry"),
        ({"name": "deepseek", "key": "two\nlines"}, "key"),
    ],
)
def test_a_wrong_field_of_a_provider_is_named_in_the_form(boss: Client, typed: dict[str, str], field: str) -> None:
    answer = boss.post("/admin/inference_app/provider/add/", typed)
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert not Provider.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_provider_is_tested_from_the_admin(boss: Client, upstream: Upstream, tenant: Tenant) -> None:
    provider_save(
        provider=Provider(name="mine", entry={"base_url": "http://127.0.0.1:1/v1", "api_key": "none"}), actor="t"
    )
    answer = boss.post("/admin/inference_app/provider/test/", {"provider": "mine", "model": "m"}, follow=True)
    assert "127.0.0.1:1" in answer.content.decode()
    assert boss.get("/admin/inference_app/provider/test/").status_code == 403
    assert boss.post("/admin/inference_app/provider/test/", {"provider": "nobody"}).status_code == 404
    boss.force_login(User.objects.create_user("staff", password="pw", is_staff=True, tenant=tenant, scopes=["admin"]))
    assert boss.post("/admin/inference_app/provider/test/", {"provider": "mine"}).status_code == 403
