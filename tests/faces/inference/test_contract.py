"""Responses and errors of the model gateway match the OpenAPI document, in each dialect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference_app.catalogue.config import MODELS
from inference_app.spend.budgets import BUDGETS, BudgetRule
from tests.api.contract import Contract
from tests.conftest import Caller
from tests.faces.inference.conftest import Heard, RelayClient
from tests.fixed_clock import clock_fixed

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
ASKED = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def _one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the clock so that no budget period ends during a test."""
    clock_fixed(monkeypatch)


@pytest.fixture(autouse=True)
def _no_budgets() -> Iterator[None]:
    yield
    BUDGETS.rules_replace([])


def body(path: str, model: str, **more: Any) -> dict[str, Any]:
    """Returns the body of a request on a path."""
    if path == RESPONSES:
        return {"model": model, "input": "Hi", **more}
    if path == "/v1/embeddings":
        return {"model": model, "input": "x", **more}
    return {"model": model, "messages": ASKED, **({"max_tokens": 5} if path == MESSAGES else {}), **more}


def check_response(method: str, path: str, heard: Heard, status: int) -> None:
    assert heard.status == status, heard.body
    Contract().check(method, path, heard)  # type: ignore[arg-type]  # it has what an answer has


def one_a_minute(settings: Any, path: str) -> None:
    file = Path(settings.GATEWAY_CONFIG)
    file.write_text(file.read_text() + f'    rate_limit: {{"{path}": {{rpm: 1}}}}\n')
    MODELS.forget()


PATHS = (CHAT, MESSAGES, RESPONSES, "/v1/embeddings")


@pytest.mark.parametrize("path", PATHS)
async def test_what_a_provider_answers_and_what_is_refused_is_documented(relay: RelayClient, path: str) -> None:
    provider = "messages" if path == MESSAGES else "scripted"
    check_response("POST", path, await relay.post(path, body(path, f"{provider}:hello")), 200)
    check_response("POST", path, await relay.post(path, body(path, "nobody-has-this")), 404)
    check_response("POST", path, await relay.post(path, b"{"), 400)
    check_response("POST", path, await relay.post(path, body(path, "locked")), 503)
    check_response("POST", path, await relay.post(path, body(path, "closed:hello")), 502)
    check_response("POST", path, await RelayClient(None).post(path, body(path, f"{provider}:hello")), 401)


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_streams_are_documented(relay: RelayClient, path: str) -> None:
    provider = "messages" if path == MESSAGES else "scripted"
    check_response("POST", path, await relay.post(path, body(path, f"{provider}:hello", stream=True)), 200)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_limits_and_budgets_are_documented(relay: RelayClient, owner: Caller, settings: Any, path: str) -> None:
    BUDGETS.rules_replace([BudgetRule(1, owner.principal.tenant_id, "day", tokens=0)])
    check_response("POST", path, await relay.post(path, body(path, "scripted:hello")), 402)
    BUDGETS.rules_replace([])
    one_a_minute(settings, path)
    answers = [await relay.post(path, body(path, "scripted:hello")) for _ in range(3)]
    check_response("POST", path, answers[-1], 429)
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_counts_and_lists_are_documented(relay: RelayClient) -> None:
    count = "/v1/messages/count_tokens"
    check_response("POST", count, await relay.post(count, {"model": "messages:hello", "messages": ASKED}), 200)
    check_response("POST", count, await relay.post(count, {"model": "scripted:hello", "messages": ASKED}), 200)
    for headers in ({}, {"anthropic_version": "2023-06-01"}):
        check_response("GET", "/v1/models", await relay.get("/v1/models", **headers), 200)
        check_response("GET", "/v1/models/hello", await relay.get("/v1/models/hello", **headers), 200)
        check_response("GET", "/v1/models/no", await relay.get("/v1/models/nobody-has-this", **headers), 404)


@pytest.mark.parametrize("page", ["health", "health/all", "quota", "stats", "health/scripted"])
async def test_the_operators_pages_are_documented(relay: RelayClient, page: str) -> None:
    check_response("GET", f"/model-gateway/{page}", await relay.get(f"/model-gateway/{page}"), 200)
