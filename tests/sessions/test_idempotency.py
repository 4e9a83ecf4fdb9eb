"""A POST with an `Idempotency-Key` takes effect once, wherever its process dies: the response is stored in the same
transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction

from core_app import database
from edge_app.rest import viewsets
from faces.native.views import prompts
from sessions_app.models import AgentSession, Run
from tenants_app.models import IdempotencyRecord
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)

KEY = {"Idempotency-Key": "once"}


class Died(BaseException):
    """The process died: nothing after this point happens."""


@contextmanager
def death_after(place: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets the process die after `place.name` has returned, for the duration of the block."""
    work: Callable[..., Any] = getattr(place, name)

    def call_and_die(*args: Any, **kwargs: Any) -> Any:
        work(*args, **kwargs)
        patch.setattr(viewsets, "idempotency_complete", _too_late)
        patch.setattr(viewsets, "idempotency_release", _too_late)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(place, name, call_and_die)
        yield


def _too_late(**ignored: Any) -> None:
    pass


async def runs() -> int:
    return await database.run(lambda: Run.objects.count())


async def test_a_prompt_whose_process_died_after_its_commit_is_answered_again_and_not_run_again(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await api.session()
    path = f"/v1/sessions/{session}/prompt"
    with death_after(prompts, "prompt_accept", monkeypatch), pytest.raises(Died):
        await api.post(path, {"text": "hello"}, headers=KEY)
    again = await api.post(path, {"text": "hello"}, headers=KEY)
    assert (again.status, again.headers["idempotent-replayed"]) == (202, "true")
    assert (await api.follow_run(session, again.json["requestId"]))["status"] == "completed"
    assert await runs() == 1


async def test_a_prompt_whose_process_died_before_its_commit_was_never_made(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await api.session()
    path = f"/v1/sessions/{session}/prompt"
    # The response is stored in the prompt's transaction, which is rolled back.
    with death_after(viewsets.GatewayViewSet, "store_response", monkeypatch), pytest.raises(Died):
        await api.post(path, {"text": "hello"}, headers=KEY)
    assert await runs() == 0
    # The claim of the dead process is taken over after a while.
    assert (await api.post(path, {"text": "hello"}, headers=KEY)).status == 409
    await database.run(lambda: IdempotencyRecord.objects.update(created_at="2020-01-01T00:00:00Z"))
    assert (await api.post(path, {"text": "hello"}, headers=KEY)).status == 202
    assert await runs() == 1


async def test_a_slow_prompt_whose_claim_was_taken_over_is_not_made_beside_the_other(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await api.session()
    path = f"/v1/sessions/{session}/prompt"
    store_response = viewsets.GatewayViewSet.store_response

    def take_over_claim(view: viewsets.GatewayViewSet, response: Any) -> Any:
        IdempotencyRecord.objects.update(claim="somebody-elses")
        return store_response(view, response)

    with monkeypatch.context() as patch:
        patch.setattr(viewsets.GatewayViewSet, "store_response", take_over_claim)
        assert (await api.post(path, {"text": "hello"}, headers=KEY)).status == 409
    assert await runs() == 0


@pytest.mark.parametrize("when_busy", ["enqueue", "steer"])
async def test_a_prompt_with_a_key_is_made_once(api: Client, when_busy: str) -> None:
    session = await api.session()
    path = f"/v1/sessions/{session}/prompt"
    body = {"text": "hello", "whenBusy": when_busy}
    first, second = [await api.post(path, body, headers=KEY) for _ in range(2)]
    assert first.json == second.json
    assert "idempotent-replayed" not in first.headers
    assert await runs() == 1


async def test_a_prompt_that_is_repeated_with_another_wait_is_made_once(api: Client) -> None:
    session = await api.session()
    path = f"/v1/sessions/{session}/prompt"
    first = await api.post(f"{path}?wait=59", {"text": "hello"}, headers=KEY)
    second = await api.post(f"{path}?wait=60", {"text": "hello"}, headers=KEY)
    third = await api.post(path, {"text": "hello"}, headers=KEY)
    assert (first.status, second.status, third.status) == (200, 200, 202)
    assert {answer.json["requestId"] for answer in (first, second, third)} == {first.json["requestId"]}
    assert await runs() == 1


async def test_a_session_whose_process_died_after_its_commit_is_made_once(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"model": "demo:echo"}
    with death_at_commit(monkeypatch), pytest.raises(Died):
        await api.post("/v1/sessions", body, headers=KEY)
    again = await api.post("/v1/sessions", body, headers=KEY)
    assert (again.status, again.headers["idempotent-replayed"]) == (201, "true")
    assert await database.run(lambda: AgentSession.objects.get().public_id) == again.json["sessionId"]


async def test_a_webhooks_secret_is_shown_again_when_its_process_died_after_its_commit(
    gateway: GatewayHarness, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = gateway.client(owner)
    body = {"url": "https://hooks.example.com/a", "events": ["agent_end"]}
    with death_at_commit(monkeypatch), pytest.raises(Died):
        await api.post("/v1/webhooks", body, headers=KEY)
    again = await api.post("/v1/webhooks", body, headers=KEY)
    assert (again.status, again.headers["idempotent-replayed"]) == (201, "true")
    assert again.json["secret"].startswith("whsec_")
    assert len((await api.get("/v1/webhooks")).json["webhooks"]) == 1


@contextmanager
def death_at_commit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets a request die right after the commit that stores its response, for the duration of the block."""
    store_response = viewsets.GatewayViewSet.store_response

    def call_and_die(view: viewsets.GatewayViewSet, response: Any) -> Any:
        answer = store_response(view, response)
        transaction.on_commit(_die)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(viewsets.GatewayViewSet, "store_response", call_and_die)
        yield


def _die() -> None:
    raise Died
