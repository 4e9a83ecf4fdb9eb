"""The console's pages for work as the server renders them: usage, CSV, budgets, operations, keys, playground."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client

from core_app import clock
from faces.console.csv_download import csv_cell
from inference_app.models import Budget
from inference_app.spend.budget_state import budget_states
from tenants_app.models import ApiKey, LedgerEntry, Tenant, User
from tenants_app.principal import ADMIN, PLATFORM
from tenants_app.services import api_key_issue
from tenants_app.services.membership import role_give
from tests.conftest import Caller
from tests.sessions.test_run_figures import run_ended

pytestmark = pytest.mark.django_db(transaction=True)

XSS = "<script>alert(1)</script>"
FORMULA = "=cmd|' /C calc'!A0"


def browser_of(tenant: Tenant, role: str) -> Client:
    """A browser with a person of this role in it."""
    user = User.objects.create_user(f"{role}-ann")
    role_give(user=user, tenant=tenant, role=role)
    client = Client()
    client.force_login(user)
    return client


def spent(caller: Caller, *, model: str = "demo:tour", cost: str | None = "0.5", end_user: str | None = None) -> None:
    LedgerEntry.objects.create(
        tenant_id=caller.principal.tenant_id,
        api_key_id=caller.principal.key_id,
        run_id=f"run_{LedgerEntry.objects.count()}",
        response_no=1,
        model=model,
        input_tokens=100,
        output_tokens=10,
        cost_usd=None if cost is None else Decimal(cost),
        end_user=end_user,
    )


def rows_of(client: Client, **query: str) -> list[dict[str, str]]:
    response = client.get("/console/usage.csv", query)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))


def test_the_csv_joins_spend_and_outcomes(owner: Caller, tenant: Tenant) -> None:
    spent(owner)
    run_ended(owner, ended_at=clock.now(), first_output_ms=120, duration_ms=900)
    today = clock.now().date().isoformat()
    [row] = rows_of(browser_of(tenant, "viewer"), by="model")
    assert (row["day"], row["name"], row["prompts"], row["model_responses"]) == (today, "demo:tour", "1", "1")
    assert (row["input_tokens"], row["cost_usd"], row["cost_known"]) == ("100", "0.5000000000", "yes")
    assert row["first_output_median_ms"]


def test_no_cell_of_the_csv_is_a_formula(owner: Caller, tenant: Tenant) -> None:
    for user in (FORMULA, "+1", "-1", "@x", "\t=1", "  =1", "\uff1d1", "plain"):
        run_ended(owner, ended_at=clock.now(), user=user)
    run_ended(owner, ended_at=clock.now(), agent=FORMULA)
    spent(owner, model=FORMULA)
    client = browser_of(tenant, "viewer")
    for by in ("model", "key", "agent", "end_user"):
        for row in rows_of(client, by=by):
            assert not row["name"].lstrip().startswith(("=", "+", "-", "@", "\uff1d")), (by, row["name"])
    assert "plain" in {row["name"] for row in rows_of(client, by="end_user")}


def test_numbers_stay_numbers() -> None:
    assert [csv_cell(value) for value in (5, 0.5, None, "a=b", "'x", "\n=1")] == [5, 0.5, "", "a=b", "'x", "'\n=1"]


def test_a_tenant_sees_its_own_usage_and_budgets(owner: Caller, stranger: Caller, tenant: Tenant) -> None:
    spent(owner, model="openai:here")
    spent(stranger, model="openai:there")
    for caller, usd in ((owner, "2"), (stranger, "3")):
        Budget.objects.create(tenant_id=caller.principal.tenant_id, period="month", usd=Decimal(usd), tokens=1000)
    text = browser_of(tenant, "viewer").get("/console/usage").content.decode()
    assert "openai:here" in text
    assert "openai:there" not in text
    assert "$1.50" in text
    assert "$3.00" not in text


def test_what_is_left_of_a_budget_is_what_the_ledger_leaves(owner: Caller) -> None:
    spent(owner)
    spent(owner, model="other:model", cost=None)
    LedgerEntry.objects.filter(model="demo:tour").update(created_at=clock.now() - timedelta(days=1))
    tenant_id, key = owner.principal.tenant_id, ApiKey.objects.get(tenant_id=owner.principal.tenant_id)
    Budget.objects.create(tenant_id=tenant_id, period="day", tokens=200)
    Budget.objects.create(tenant_id=tenant_id, period="day", tokens=50, model="other:model", api_key=key)
    whole, narrow = budget_states(tenant_id)
    assert (whole.tokens_left, whole.usd_left, whole.percent_used, whole.key) == (90, None, 55, "")
    assert (narrow.tokens_left, narrow.percent_used, narrow.key) == (0, 100, key.name)


def test_texts_of_tenants_are_escaped_on_every_page(owner: Caller, tenant: Tenant) -> None:
    run_ended(owner, ended_at=clock.now(), user=XSS, agent=XSS)
    spent(owner, model=XSS)
    api_key_issue(tenant=tenant, name=XSS, scopes=["sessions"])
    client = browser_of(tenant, "admin")
    pages = ("usage", "usage?by=key", "usage?by=agent", "usage?by=end_user", "keys", "operations", "playground")
    for page in pages:
        text = client.get(f"/console/{page}").content.decode()
        assert XSS not in text, page
    assert "&lt;script&gt;" in client.get("/console/keys").content.decode()


def test_filters_that_make_no_sense_are_explained(tenant: Tenant) -> None:
    client = browser_of(tenant, "viewer")
    for query in ({"start": "2026-02-02", "end": "2026-02-01"}, {"start": "x"}, {"start": "2020-01-01"}, {"by": "x"}):
        response = client.get("/console/usage", query)
        assert response.status_code == 200
        assert 'role="alert"' in response.content.decode()
        assert client.get("/console/usage.csv", query).status_code == 200


def test_the_gateways_operator_sees_providers_and_a_tenants_does_not(tenant: Tenant) -> None:
    operator = browser_of(tenant, "operator")
    root = Client()
    root.force_login(User.objects.create_superuser("root", tenant=tenant))
    assert PLATFORM not in operator.get("/console/operations").content.decode()
    assert "OPENAI_API_KEY" not in operator.get("/console/operations").content.decode()
    assert "OPENAI_API_KEY" in root.get("/console/operations").content.decode()


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_people_who_may_not_act_get_none_of_the_pages_to_act(tenant: Tenant, role: str) -> None:
    client = browser_of(tenant, role)
    for page in ("playground", "operations", "keys"):
        assert client.get(f"/console/{page}").status_code == 403, page
    for page in ("usage", "usage.csv", "agents", "tasks", "spaces", "events"):
        assert client.get(f"/console/{page}").status_code == 200, page


def test_the_keys_of_other_tenants_and_secrets_are_not_on_the_page(
    owner: Caller, stranger: Caller, tenant: Tenant
) -> None:
    api_key_issue(tenant=tenant, name="wide", scopes=[ADMIN, PLATFORM])
    text = browser_of(tenant, "admin").get("/console/keys").content.decode()
    assert ApiKey.objects.get(tenant_id=owner.principal.tenant_id, name="test key").prefix in text
    assert ApiKey.objects.get(tenant_id=stranger.principal.tenant_id).prefix not in text
    assert owner.secret not in text
    assert "may do more than you" in text


def test_an_agent_of_another_tenant_is_unknown(tenant: Tenant) -> None:
    client = browser_of(tenant, "viewer")
    assert client.get("/console/agents/nobody").status_code == 404
