"""Tests of Idempotency-Key: a repeated request gets the first response, per tenant and route, for a day."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connections
from django.db.models import F
from django.test import Client

from core_app import clock
from core_app.errors import BadRequest, Conflict, GatewayError, Unprocessable
from tenants_app import stored_responses
from tenants_app.models import IdempotencyRecord, Tenant
from tenants_app.services import (
    Replay,
    idempotency_begin,
    idempotency_complete,
    idempotency_purge,
    idempotency_release,
)
from tenants_app.services.idempotency import CLAIM_LIFETIME, RECORD_LIFETIME, Claim
from tenants_app.stored_responses import STORED_RESPONSES
from tests.conftest import Caller
from tests.tenants.urls import ThingViewSet

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.tenants.urls")]

GOOD = b'{"text":"hello"}'


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    ThingViewSet.calls = 0


def post(client: Client, who: Caller, key: str | None, body: bytes = GOOD, path: str = "/things") -> Any:
    headers = who.headers if key is None else {**who.headers, "Idempotency-Key": key}
    return client.post(path, body, content_type="application/json", headers=headers)


def begin(tenant: Tenant, key: str = "k", body: bytes = b"{}", route: str = "POST /x") -> Claim | Replay:
    return idempotency_begin(tenant_id=tenant.id, key=key, route=route, body=body)


def claim(tenant: Tenant) -> Claim:
    found = begin(tenant)
    assert isinstance(found, Claim)
    return found


def pass_time(time: timedelta) -> None:
    """Dates all records back by this time."""
    IdempotencyRecord.objects.update(created_at=F("created_at") - time)


def test_the_same_post_again_gets_the_first_answer(client: Client, owner: Caller) -> None:
    first, second = post(client, owner, "k-1"), post(client, owner, "k-1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content == b'{"number":1}'
    assert second.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert ThingViewSet.calls == 1


def test_without_a_key_every_post_is_done(client: Client, owner: Caller) -> None:
    post(client, owner, None)
    post(client, owner, None)
    assert ThingViewSet.calls == 2
    assert not IdempotencyRecord.objects.exists()


def test_another_body_with_the_same_key_is_unprocessable(client: Client, owner: Caller) -> None:
    post(client, owner, "k-1")
    answer = post(client, owner, "k-1", b'{"text":"other"}')
    assert (answer.status_code, answer.json()["error"]) == (422, "unprocessable")
    assert ThingViewSet.calls == 1


def test_another_tenant_or_route_with_the_same_key_is_another_post(
    client: Client, owner: Caller, stranger: Caller
) -> None:
    post(client, owner, "k-1")
    assert post(client, stranger, "k-1").json() == {"number": 2}
    assert post(client, owner, "k-1", path="/other-things").json() == {"number": 3}


def test_a_repeated_post_with_another_query_is_the_same_post(client: Client, owner: Caller) -> None:
    assert post(client, owner, "k-1", path="/things?wait=1").json() == {"number": 1}
    assert post(client, owner, "k-1", path="/things?wait=2").json() == {"number": 1}


@pytest.mark.parametrize("body", [b"{}", b'{"text":"taken"}', b"{", b"[]"])
def test_a_failure_is_not_kept_so_that_a_retry_may_succeed(client: Client, owner: Caller, body: bytes) -> None:
    assert post(client, owner, "k-1", body).status_code >= 400
    assert not IdempotencyRecord.objects.exists()
    assert post(client, owner, "k-1").status_code == 201


def test_a_caller_without_the_scope_gets_no_replay(client: Client, owner: Caller, colleague: Caller) -> None:
    post(client, owner, "k-1")
    assert post(client, colleague, "k-1").status_code == 403


def test_while_the_first_is_being_answered_the_second_conflicts(tenant: Tenant) -> None:
    claim(tenant)
    with pytest.raises(Conflict):
        begin(tenant)
    with pytest.raises(Unprocessable):
        begin(tenant, body=b"other")


def test_a_released_key_can_be_used_again(tenant: Tenant) -> None:
    idempotency_release(claim=claim(tenant))
    assert isinstance(begin(tenant, body=b"other"), Claim)


def test_a_claim_that_a_crash_left_behind_is_taken_over(tenant: Tenant) -> None:
    dead = claim(tenant)
    pass_time(CLAIM_LIFETIME - timedelta(seconds=1))
    with pytest.raises(Conflict):
        begin(tenant)
    pass_time(timedelta(seconds=2))
    living = claim(tenant)
    with pytest.raises(Conflict):
        idempotency_complete(claim=dead, status=201, headers={}, body="late")
    idempotency_release(claim=dead)
    with pytest.raises(Conflict):
        begin(tenant)
    idempotency_complete(claim=living, status=201, headers={}, body="right")
    assert begin(tenant) == Replay(201, {}, "right")


def test_a_claim_of_a_process_whose_clock_is_ahead_lives_no_longer(
    monkeypatch: pytest.MonkeyPatch, tenant: Tenant
) -> None:
    ahead = clock.now() + timedelta(hours=1)
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: ahead)
        claim(tenant)
    with pytest.raises(Conflict):
        begin(tenant)
    pass_time(CLAIM_LIFETIME + timedelta(seconds=1))
    assert isinstance(begin(tenant), Claim)


def test_an_answer_that_was_kept_is_not_released(tenant: Tenant) -> None:
    answered = claim(tenant)
    idempotency_complete(claim=answered, status=201, headers={}, body="{}")
    idempotency_release(claim=answered)
    assert begin(tenant) == Replay(201, {}, "{}")


def test_an_answer_is_kept_for_a_day(tenant: Tenant) -> None:
    idempotency_complete(claim=claim(tenant), status=201, headers={}, body="{}")
    pass_time(RECORD_LIFETIME - timedelta(seconds=10))
    assert isinstance(begin(tenant), Replay)
    assert idempotency_purge() == 0
    pass_time(timedelta(seconds=20))
    assert isinstance(begin(tenant), Claim)


def test_old_records_are_purged_in_portions(tenant: Tenant) -> None:
    for number in range(3):
        begin(tenant, key=str(number))
    pass_time(RECORD_LIFETIME + timedelta(seconds=1))
    begin(tenant, key="new")
    assert [idempotency_purge(limit=2) for _ in range(3)] == [2, 1, 0]
    assert IdempotencyRecord.objects.get().key == "new"


@pytest.mark.parametrize("key", ["", "x" * 256, "ключ", "a\x00", "\udfff", "a\nb"])
def test_a_key_is_visible_ascii(tenant: Tenant, key: str) -> None:
    with pytest.raises(BadRequest) as refused:
        begin(tenant, key=key)
    assert refused.value.field == "Idempotency-Key"


def test_a_bad_key_on_the_wire_is_a_bad_request(client: Client, owner: Caller) -> None:
    answer = post(client, owner, "x" * 256)
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


def test_a_long_route_is_told_from_another_long_route(tenant: Tenant) -> None:
    assert isinstance(begin(tenant, route="POST /" + "x" * 500), Claim)
    assert isinstance(begin(tenant, route="POST /" + "x" * 501), Claim)


@pytest.mark.django_db(transaction=True)
def test_of_requests_at_once_one_is_first(tenant: Tenant) -> None:
    together = Barrier(6)

    def attempt(_: int) -> Claim | Replay | GatewayError:
        together.wait(timeout=60)
        try:
            return begin(tenant)
        except GatewayError as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(attempt, range(6)))
    assert sum(isinstance(outcome, Claim) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 5


@pytest.fixture
def _few_responses(settings: Any) -> None:
    settings.GATEWAY_MAX_STORED_RESPONSES_PER_TENANT = 3
    STORED_RESPONSES.forget()


@pytest.mark.usefixtures("_few_responses")
def test_a_tenant_has_so_many_stored_responses_and_keeps_those_it_has(
    client: Client, owner: Caller, stranger: Caller
) -> None:
    answers = [post(client, owner, f"k-{number}") for number in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert "GATEWAY_MAX_STORED_RESPONSES_PER_TENANT" in answers[3].json()["message"]
    assert int(answers[3].headers["Retry-After"]) >= 1
    assert post(client, owner, "k-1").headers["Idempotent-Replayed"] == "true"
    assert post(client, owner, None).status_code == 201
    assert post(client, stranger, "k-0").status_code == 201


def test_stored_responses_are_counted_again_and_again(tenant: Tenant, settings: Any, monkeypatch: Any) -> None:
    """Another process stores them too; looks are rare, and the first after a refusal comes later."""
    settings.GATEWAY_MAX_STORED_RESPONSES_PER_TENANT = 4
    monkeypatch.setattr(stored_responses, "LOOK_EVERY", 2)
    moment = [0.0]
    stored = stored_responses.StoredResponses(lambda: moment[0])
    assert [stored.is_full(tenant.pk) for _ in range(2)] == [False, False]
    for number in range(4):
        begin(tenant, f"elsewhere-{number}")
    assert stored.is_full(tenant.pk)
    IdempotencyRecord.objects.all().delete()
    assert stored.is_full(tenant.pk)
    moment[0] += stored_responses.FULL_SECONDS
    assert not stored.is_full(tenant.pk)


def test_no_limit_of_stored_responses_looks_at_nothing(
    tenant: Tenant, settings: Any, django_assert_num_queries: Any
) -> None:
    settings.GATEWAY_MAX_STORED_RESPONSES_PER_TENANT = 0
    with django_assert_num_queries(0):
        assert not STORED_RESPONSES.is_full(tenant.pk)
