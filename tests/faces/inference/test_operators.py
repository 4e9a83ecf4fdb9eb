"""GET /v1/models and /model-gateway/*: the models that may be used, and the health of the providers."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inference_app.providers.health import forget_probes
from inference_app.providers.quota import parse_codexbar
from inference_app.spend.budgets import BUDGETS, BudgetRule
from inference_app.spend.metering import METER
from tests.agents.conftest import Upstream
from tests.conftest import Caller
from tests.faces.inference.conftest import KEY, RelayClient


@pytest.fixture(autouse=True)
def _no_probe_remembered() -> None:
    forget_probes()


async def test_models_are_listed_without_providers_that_have_no_key(relay: RelayClient) -> None:
    heard = await relay.get("/v1/models")
    models = {model["id"]: model for model in heard.json["data"]}
    assert models["hello"] == {
        "id": "hello",
        "object": "model",
        "created": 0,
        "owned_by": "scripted",
        "pricing": {"input": 1000000.0, "output": 2000000.0, "cached": 0.0},
    }
    assert "resilient" in models
    assert "gpt-4o-mini" not in models


async def test_a_model_is_shown_when_it_would_be_served_and_unknown_else(relay: RelayClient) -> None:
    assert (await relay.get("/v1/models/scripted%3Aanything")).json["owned_by"] == "scripted"
    assert (await relay.get("/v1/models/nobody-has-this")).json["error"]["code"] == "model_not_found"


async def test_anthropics_clients_get_anthropics_list(relay: RelayClient) -> None:
    heard = await relay.get("/v1/models", anthropic_version="2023-06-01")
    assert heard.json["data"][0]["type"] == "model"
    assert heard.json["has_more"] is False
    assert (await relay.get("/v1/models/nobody", anthropic_version="2023-06-01")).json["type"] == "error"


async def test_health_names_who_is_there_and_who_is_not(relay: RelayClient) -> None:
    health = (await relay.get("/model-gateway/health")).json
    assert health["status"] == "ok"
    assert {"name": "second", "summary": "ready"} in health["providers_available"]
    assert {"name": "keyless", "summary": "no key (NO_SUCH_KEY)"} in health["providers_unavailable"]
    for _ in range(3):
        await relay.chat("scripted:status:500")
    degraded = (await relay.get("/model-gateway/health")).json
    assert degraded["status"] == "degraded"
    assert {"name": "scripted", "summary": "circuit open: status:500"} in degraded["providers_unavailable"]


async def test_probes_ask_the_providers_and_show_no_secrets(relay: RelayClient, upstream: Upstream) -> None:
    heard = await relay.get("/model-gateway/health/all")
    found = {probe["provider"]: probe for probe in heard.json}
    assert (found["scripted"]["status"], found["scripted"]["circuit"]) == ("healthy", "CLOSED")
    assert (found["closed"]["status"], found["closed"]["error"]) == ("unhealthy", "connection failed")
    assert KEY.encode() not in heard.body
    assert (await relay.get("/model-gateway/health/keyless")).json["status"] == "unknown"
    assert (await relay.get("/model-gateway/health/nobody")).status == 404


async def test_statistics_and_quota_are_shown(relay: RelayClient) -> None:
    await relay.chat("hello")
    stats = (await relay.get("/model-gateway/stats")).json
    assert (stats["total_requests"], stats["total_failures"]) == (1, 0)
    assert stats["providers"]["scripted"]["success_rate"] == 1
    assert stats["recent"][0]["model"] == "hello"
    quota = (await relay.get("/model-gateway/quota")).json
    assert quota["second"] == {"provider": "second", "available": True, "summary": "Local - always available"}


async def test_each_path_needs_its_scope(relay: RelayClient, colleague: Caller) -> None:
    client = RelayClient(colleague)
    assert (await client.get("/model-gateway/stats")).json["error"] == "forbidden"
    assert (await client.chat("hello")).json["error"]["type"] == "permission_error"
    assert (await RelayClient(None).chat("hello")).json["error"]["code"] == "invalid_api_key"
    refused = await client.post("/v1/messages", {"model": "hello"})
    assert (refused.status, refused.json["error"]["type"]) == (403, "permission_error")


def test_codexbar_is_read_as_far_as_it_is_understood() -> None:
    output = b'[{"provider":"codex","usage":{"primary":{"usedPercent":42.5},"secondary":{"usedPercent":100}}},{"x":1}]'
    (quota,) = parse_codexbar(output)
    assert quota.to_wire() == {"provider": "codex", "available": False, "usedPercent": 100.0, "summary": "100% used"}


async def test_health_shows_the_last_real_answer_in_words(relay: RelayClient) -> None:
    assert (await relay.get("/model-gateway/health")).json["last_answers"] == {}
    await relay.chat("hello")
    health = (await relay.get("/model-gateway/health")).json
    assert health["last_answers"]["scripted"]["status"] == "ok"
    await relay.chat("scripted:status:401")
    health = (await relay.get("/model-gateway/health")).json
    told = health["last_answers"]["scripted"]
    assert (told["status"], told["reason"]) == ("failed", "key")
    assert told["message"] == "scripted refused the key of this gateway (error_401); check TEST_UPSTREAM_KEY."
    assert {"name": "scripted", "summary": told["message"]} in health["providers_unavailable"]
    probe = (await relay.get("/model-gateway/health/scripted")).json
    assert (probe["status"], probe["last_answer"]["message"]) == ("healthy", told["message"])
    await relay.chat("scripted:status:400")
    health = (await relay.get("/model-gateway/health")).json
    assert health["last_answers"]["scripted"]["status"] == "ok"
    assert {"name": "scripted", "summary": "ready"} in health["providers_available"]
    await relay.chat("closed:hello")
    health = (await relay.get("/model-gateway/health")).json
    assert "check models.providers.closed.base_url" in health["last_answers"]["closed"]["message"]


async def test_metrics_tell_calls_tokens_cost_retries_and_circuits_by_provider_and_model(
    relay: RelayClient, owner: Caller
) -> None:
    before = samples((await relay.get("/metrics")).body)
    BUDGETS.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=1_000_000)])
    try:
        await relay.chat("hello")
        await relay.chat("hello", stream=True)
        await relay.chat("resilient")
        for status in (401, 403):
            await relay.chat(f"scripted:status:{status}", stream=True)
        await relay.chat("closed:hello")
        await METER.flush()
        after = samples((await relay.get("/metrics")).body)
    finally:
        BUDGETS.rules_replace([])
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}

    def of(name: str, **labels: str) -> float:
        return grown[name, frozenset(labels.items())]

    hello = {"provider": "scripted", "model": "hello"}
    assert of("gateway_provider_requests_total", **hello, outcome="ok") == 2
    assert of("gateway_provider_tokens_total", **hello, direction="input") == 22
    assert of("gateway_provider_tokens_total", **hello, direction="output") == 14
    assert of("gateway_provider_tokens_total", **hello, direction="cached") == 6
    assert of("gateway_provider_cost_usd_total", **hello) == 44
    assert of("gateway_provider_answer_seconds_count", **hello) == 2
    assert of("gateway_provider_first_byte_seconds_count", **hello) == 2
    failing = {"provider": "scripted", "model": "status:500"}
    assert of("gateway_provider_failed_attempts_total", **failing, reason="status") == 2
    assert of("gateway_provider_retries_total", **failing) == 1
    assert of("gateway_provider_retries_total", provider="second", model="hello") == 1
    # Names that clients make up are one series.
    assert of("gateway_provider_failed_attempts_total", provider="scripted", model="other", reason="key") == 2
    assert of("gateway_provider_failed_attempts_total", provider="closed", model="hello", reason="connect") == 2
    assert after["gateway_provider_circuit", frozenset(hello.items())] == 0
    left = after["gateway_budget_left_ratio", frozenset({"provider": "all", "model": "all", "period": "day"}.items())]
    assert 0.9 < left < 1


def samples(exposition: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(exposition.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
