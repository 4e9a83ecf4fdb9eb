"""Limits of a key on a path, and budgets of a tenant, a key or a model: checked before a call, settled after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core_app import database
from inference_app.catalogue.config import MODELS
from inference_app.spend.budgets import BUDGETS, BudgetRule
from inference_app.spend.metering import METER
from tenants_app.models import Tenant
from tests.agents.conftest import Upstream
from tests.conftest import Caller, caller
from tests.faces.inference.conftest import RelayClient
from tests.fixed_clock import clock_fixed
from tests.gateway_harness import GatewayHarness


@pytest.fixture(autouse=True)
def _one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the clock so that no budget period ends during a test."""
    clock_fixed(monkeypatch)


@pytest.fixture(autouse=True)
def _no_budgets() -> Iterator[None]:
    yield
    BUDGETS.rules_replace([])


def budget(caller: Caller, **values: Any) -> None:
    """Sets one budget for the caller's tenant; `values` may name its key."""
    rule = {"id": 1, "tenant_id": caller.principal.tenant_id, "period": "day", **values}
    BUDGETS.rules_replace([BudgetRule(**rule)])


def set_path_limits(settings: Any, **paths: int) -> None:
    write_path_limits(settings, {name.replace("__", "/"): {"rpm": rpm} for name, rpm in paths.items()})


def write_path_limits(settings: Any, limits: dict[str, dict[str, int]]) -> None:
    path = Path(settings.GATEWAY_CONFIG)
    path.write_text(path.read_text() + f"    rate_limit: {limits}\n")
    MODELS.forget()


async def test_each_key_has_a_bucket_on_each_path(
    gateway: GatewayHarness, relay: RelayClient, stranger: Caller, settings: Any
) -> None:
    set_path_limits(settings, __v1__chat__completions=2, __v1__embeddings=1)
    answers = [await relay.chat("hello") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit"].startswith('"default";r=1')
    refused = answers[2]
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json["error"]["code"] == "rate_limit_exceeded"
    assert (await relay.post("/v1/embeddings", {"model": "hello", "input": "x"})).status == 200
    assert (await RelayClient(stranger).chat("hello")).status == 200


@pytest.mark.parametrize(("written", "served"), [({"rpm": 2}, 10), ({"rpm": 2, "tenant_rpm": 3}, 3)])
async def test_six_keys_of_a_tenant_do_not_have_six_times_the_limit_of_a_path(
    gateway: GatewayHarness, relay: RelayClient, tenant: Tenant, settings: Any, written: dict[str, int], served: int
) -> None:
    write_path_limits(settings, {"/v1/embeddings": written})
    keys = [await database.run(caller, tenant, ("inference",)) for _ in range(6)]
    body = {"model": "hello", "input": "x"}
    answers = [await RelayClient(key).post("/v1/embeddings", body) for key in keys for _ in range(2)]
    assert [answer.status for answer in answers] == [200] * served + [429] * (12 - served)
    assert answers[-1].headers["ratelimit-policy"].startswith('"tenant"')
    assert "keys of this tenant together" in answers[-1].json["error"]["message"]


REFUSED: list[tuple[str, Any, int]] = [
    ("/v1/chat/completions", {"model": "nobody-has-this"}, 404),
    ("/v1/chat/completions", b"no json", 400),
    ("/v1/embeddings", b'{"model":1}', 400),
    ("/v1/messages", b"[]", 400),
    ("/v1/responses", {"model": "hello", "store": True}, 400),
    ("/v1/messages/count_tokens", {"model": "nobody-has-this"}, 404),
]


@pytest.mark.parametrize(("path", "body", "status"), REFUSED)
async def test_a_refused_request_takes_a_token_and_without_one_its_body_is_not_looked_at(
    relay: RelayClient, settings: Any, path: str, body: Any, status: int
) -> None:
    set_path_limits(settings, **{path.replace("/", "__"): 2})
    answers = [await relay.post(path, body) for _ in range(3)]
    assert [answer.status for answer in answers] == [status, status, 429]
    assert answers[0].headers["ratelimit"].startswith('"default";r=1')


async def test_the_list_of_models_has_a_bucket(relay: RelayClient, settings: Any) -> None:
    set_path_limits(settings, __v1__models=3)
    paths = ("/v1/models", "/v1/models/hello", "/v1/models/nobody-has-this", "/v1/models")
    assert [(await relay.get(path)).status for path in paths] == [200, 200, 404, 429]


async def test_a_wide_bucket_is_taken_in_blocks_and_never_gives_more(relay: RelayClient, settings: Any) -> None:
    set_path_limits(settings, __v1__embeddings=1800)
    body = {"model": "hello", "input": "x"}
    statuses = [(await relay.post("/v1/embeddings", body)).status for _ in range(7)]
    assert set(statuses) == {200}


async def test_a_spent_budget_refuses_and_says_when(relay: RelayClient, owner: Caller) -> None:
    budget(owner, tokens=18)
    first = await relay.chat("hello")
    assert (first.status, first.headers["x-gateway-budget-tokens-left"]) == (200, "18")
    await METER.flush()
    refused = await relay.chat("hello")
    assert (refused.status, refused.json["error"]["code"]) == (402, "insufficient_quota")
    messages = [{"role": "user", "content": "Hi"}]
    anthropic = await relay.post("/v1/messages", {"model": "messages:hello", "messages": messages, "max_tokens": 1})
    assert (anthropic.status, anthropic.json["error"]["type"]) == (402, "billing_error")


async def test_a_budget_of_a_minute_is_a_limit_that_ends(relay: RelayClient, owner: Caller) -> None:
    budget(owner, tokens=1, period="minute")
    await relay.chat("hello")
    refused = await relay.chat("hello")
    if refused.status == 200:  # the minute ended in between
        refused = await relay.chat("hello")
    assert (refused.status, 0 < int(refused.headers["retry-after"]) <= 61) == (429, True)


async def test_money_is_counted_by_the_configured_price(relay: RelayClient, owner: Caller) -> None:
    budget(owner, usd=Decimal(30))
    assert (await relay.chat("hello")).headers["x-gateway-budget-usd-left"] == "30.000000"
    await METER.flush()
    second = await relay.chat("hello")
    assert second.headers["x-gateway-budget-usd-left"] == "8.000000"
    await METER.flush()
    assert (await relay.chat("hello")).status == 402


async def test_requests_under_way_hold_their_share(relay: RelayClient, owner: Caller, upstream: Upstream) -> None:
    budget(owner, tokens=500)
    body: dict[str, Any] = {"model": "scripted:slow:5", "messages": [], "stream": True}
    async with relay.open_request("/v1/chat/completions", body) as first:
        await first.until(lambda: first.chunks)
        refused = await asyncio.gather(*(relay.chat("hello") for _ in range(5)))
        assert {answer.status for answer in refused} == {402}
    await METER.flush()
    assert (await relay.chat("hello")).status == 200


async def test_a_call_that_came_to_nothing_gives_its_share_back(relay: RelayClient, owner: Caller) -> None:
    budget(owner, tokens=500)
    assert (await relay.chat("scripted:status:400")).status == 400
    assert (await relay.chat("scripted:status:501")).status == 502
    assert (await relay.chat("hello")).headers["x-gateway-budget-tokens-left"] == "500"


async def test_a_budget_is_of_its_key_or_its_model_alone(
    relay: RelayClient, owner: Caller, stranger: Caller, gateway: GatewayHarness
) -> None:
    budget(owner, tokens=0, model="hello")
    assert (await relay.chat("hello")).status == 402
    assert (await relay.chat("scripted:echo")).status == 200
    budget(owner, tokens=0, key_id=owner.principal.key_id)
    assert (await relay.chat("hello")).status == 402
    assert (await RelayClient(stranger).chat("hello")).status == 200


async def test_a_call_does_not_fail_over_to_a_model_whose_budget_is_spent(
    relay: RelayClient, owner: Caller, upstream: Upstream
) -> None:
    budget(owner, tokens=0, model="second:hello")
    assert (await relay.chat("resilient")).status == 502
    assert {asked["model"] for asked in upstream.requests()} == {"status:500"}
    budget(owner, tokens=5000, model="second:hello")
    assert (await relay.chat("resilient")).headers["x-gateway-provider"] == "second"


async def test_what_a_call_holds_itself_does_not_keep_it_from_failing_over(relay: RelayClient, owner: Caller) -> None:
    budget(owner, tokens=5)
    assert (await relay.chat("resilient")).headers["x-gateway-provider"] == "second"


async def test_what_others_spent_is_seen_in_the_ledger(relay: RelayClient, owner: Caller) -> None:
    budget(owner, tokens=100)
    assert (await relay.chat("hello")).status == 200
    await METER.flush()
    await BUDGETS.sync()
    assert (await relay.chat("hello")).headers["x-gateway-budget-tokens-left"] == "82"
