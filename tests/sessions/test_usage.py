"""GET /v1/usage returns the sums of the tenant's ledger."""

from __future__ import annotations

import pytest

from agents_app.engine import Finished, Leg, LegOutcome
from core_app import database
from tenants_app.models import LedgerEntry
from tests.conftest import Caller
from tests.fixed_clock import NOON, clock_fixed
from tests.gateway_harness import Client, GatewayHarness
from tests.scripted_engine import USAGE, ScriptedEngine

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_fixed(monkeypatch)


async def test_usage_sums_runs_by_day_key_and_model(api: Client, script: ScriptedEngine) -> None:
    session = await api.session()
    await api.run(session, "one", endUser="u-1")
    await api.run(session, "two", endUser="u-2")
    rows = (await api.get("/v1/usage")).json["usage"]
    assert rows == [
        {
            "day": NOON.date().isoformat(),
            "key": "test key",
            "model": "scripted",
            "prompts": 2,
            "turns": 2,
            "promptTokens": 6,
            "completionTokens": 10,
            "cachedTokens": 0,
            "reasoningTokens": 0,
            "costUsd": 0.5,
            "costKnown": True,
            "estimatedTurns": 0,
        }
    ]
    own = (await api.get("/v1/usage?endUser=u-1&groupBy=model")).json["usage"]
    assert [(row["prompts"], "day" in row) for row in own] == [(1, False)]


async def test_usage_is_of_the_days_asked_for(api: Client, script: ScriptedEngine) -> None:
    await api.run(await api.session(), "one")
    today = NOON.date().isoformat()
    assert len((await api.get(f"/v1/usage?from={today}&to={today}")).json["usage"]) == 1
    assert (await api.get("/v1/usage?to=2020-01-01")).json["usage"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [("from=yesterday", "from"), ("to=2020-13-01", "to"), ("groupBy=colour", "groupBy"), ("from=9999-12-31", None)],
)
async def test_a_bad_parameter_is_named(api: Client, query: str, field: str | None) -> None:
    answer = await api.get(f"/v1/usage?{query}")
    assert (answer.status, answer.json.get("field")) == ((400, field) if field else (200, None))


async def test_usage_is_the_operators_and_the_tenants_own(
    api: Client, gateway: GatewayHarness, colleague: Caller, stranger: Caller, script: ScriptedEngine
) -> None:
    await api.run(await api.session(), "one")
    assert (await gateway.client(colleague).get("/v1/usage")).error == (403, "forbidden")
    assert (await gateway.client(stranger).get("/v1/usage")).json["usage"] == []


async def test_a_request_is_in_the_ledger_when_retention_has_removed_an_earlier_one_of_its_run(
    api: Client, script: ScriptedEngine
) -> None:
    """A number that followed from the count of rows would be that of another request, and its spend dropped."""

    def forget_first() -> None:
        LedgerEntry.objects.order_by("response_no")[:1].get().delete()

    async def spend(leg: Leg) -> LegOutcome:
        for _ in range(3):
            await leg.spend(USAGE)
        await database.run(forget_first)
        await leg.spend(USAGE)
        return Finished("done")

    script.behaviour = spend
    session = await api.session()
    await api.run(session, "go")
    assert await database.run(LedgerEntry.objects.count) == 3
    # The run has more usage than the ledger now, which the harness refuses after other tests.
    await api.delete(f"/v1/sessions/{session}?purge=true")
