"""Tests of rate limits: a bucket per key, shared over Redis, local when Redis fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from throttled import utils

from core_app.errors import RateLimited
from tenants_app import limits as limits_module
from tenants_app.limits import RateLimit, RateLimits
from tenants_app.principal import Principal
from tests.tenants.hands import Hands
from tests.tenants.logged import lines


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(utils, "now_mono_f", hands)
    return hands


@pytest.fixture
async def limits(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RateLimits]:
    """Waits for Redis however long a busy machine lets it take."""
    monkeypatch.setattr(limits_module, "REDIS_SECONDS", 30.0)
    limits = RateLimits()
    yield limits
    await limits.close()


def holder(rpm: int) -> Principal:
    """Somebody whose bucket nobody has used: Redis keeps them from one test to the next."""
    return Principal(1, "acme", random.getrandbits(62), "k", frozenset(), rpm=rpm)


async def test_a_key_makes_its_requests_per_minute_and_no_more(limits: RateLimits) -> None:
    who = holder(3)
    taken = [await limits.take(who) for _ in range(4)]
    assert [limit and limit.limited for limit in taken] == [False, False, False, True]
    last = taken[3]
    assert last is not None
    with pytest.raises(RateLimited) as refused:
        last.enforce()
    assert 1 <= refused.value.retry_after <= 20


async def test_keys_have_buckets_of_their_own(limits: RateLimits) -> None:
    one, two = holder(1), holder(1)
    for who in (one, two):
        limit = await limits.take(who)
        assert limit is not None
        assert not limit.limited


async def test_no_limit_is_no_limit(limits: RateLimits) -> None:
    assert await limits.take(holder(0)) is None


async def test_the_headers_are_the_drafts(limits: RateLimits) -> None:
    limit = await limits.take(holder(600))
    assert limit is not None
    assert limit.headers() == [
        (b"ratelimit-policy", b'"default";q=600;w=60'),
        (b"ratelimit", b'"default";r=599;t=1'),
    ]


def test_retry_after_is_never_less_than_a_second() -> None:
    with pytest.raises(RateLimited) as refused:
        RateLimit(quota=6000, remaining=0, reset=1, limited=True, retry_after=1).enforce()
    assert refused.value.retry_after == 1


async def test_a_bucket_refills_evenly_and_not_beyond_its_size(settings: Any, limits: RateLimits, hands: Hands) -> None:
    settings.GATEWAY_REDIS_URL = ""
    who = holder(60)
    for _ in range(60):
        await limits.take(who)
    assert await take_many(limits, who, 2) == [False, False]
    hands.now += 1.001
    assert await take_many(limits, who, 2) == [True, False]
    hands.now += 3600
    assert (await take_many(limits, who, 61)).count(True) == 60


async def test_a_slow_key_that_keeps_below_its_rate_is_never_limited(
    settings: Any, limits: RateLimits, hands: Hands
) -> None:
    settings.GATEWAY_REDIS_URL = ""
    who = holder(50)
    passed = []
    for _ in range(500):
        passed += await take_many(limits, who, 1)
        hands.now += 1.5
    assert all(passed)


async def take_many(limits: RateLimits, who: Principal, times: int) -> list[bool]:
    """Sends requests and returns for each whether it passed."""
    results = [await limits.take(who) for _ in range(times)]
    return [limit is not None and not limit.limited for limit in results]


async def test_two_processes_share_a_bucket_over_redis(settings: Any, limits: RateLimits) -> None:
    if not settings.GATEWAY_REDIS_URL:
        pytest.skip("the embedded deployment is one process")
    other, who = RateLimits(), holder(2)
    try:
        assert await take_many(limits, who, 1) == [True]
        assert await take_many(other, who, 2) == [True, False]
    finally:
        await other.close()


@pytest.fixture
async def frozen() -> AsyncIterator[str]:
    """A Redis that accepts connections and says nothing."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda reader, writer: held.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"redis://127.0.0.1:{port}/0"
    for writer in held:
        writer.close()
    server.close()


async def test_a_frozen_redis_is_waited_for_once_and_the_process_counts_by_itself(
    monkeypatch: pytest.MonkeyPatch, settings: Any, limits: RateLimits, frozen: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits_module, "REDIS_SECONDS", 0.01)
    monkeypatch.setattr(limits_module, "RETRY_SECONDS", 3600)
    settings.GATEWAY_REDIS_URL = frozen
    who = holder(2)
    assert await take_many(limits, who, 3) == [True, True, False]
    assert [line["level"] for line in lines(caplog)] == ["warning"]


async def test_requests_that_wait_for_a_frozen_redis_together_are_one_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, settings: Any, limits: RateLimits, frozen: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits_module, "REDIS_SECONDS", 0.01)
    monkeypatch.setattr(limits_module, "RETRY_SECONDS", 0.0)
    settings.GATEWAY_REDIS_URL = frozen
    for _ in range(2):
        await asyncio.gather(*(limits.take(holder(2)) for _ in range(20)))
    assert len(lines(caplog, "rate_limits_per_process")) == 1


async def test_a_redis_that_is_down_lets_requests_pass(
    settings: Any, limits: RateLimits, caplog: pytest.LogCaptureFixture
) -> None:
    settings.GATEWAY_REDIS_URL = "redis://127.0.0.1:1/0"
    assert await take_many(limits, holder(5), 1) == [True]
    assert len(lines(caplog)) == 1


def family(count: int, *, rpm: int, tenant_rpm: int) -> list[Principal]:
    """Keys of one tenant that nobody has used."""
    tenant = random.getrandbits(62)
    return [replace(holder(rpm), tenant_id=tenant, tenant_rpm=tenant_rpm) for _ in range(count)]


async def test_six_keys_do_not_give_six_times(limits: RateLimits) -> None:
    keys = family(6, rpm=3, tenant_rpm=10)
    passed = [await take_many(limits, who, 3) for who in keys]
    assert sum(map(sum, passed)) == 10
    # The sixth has tokens of its own left; its tenant has none.
    refused = await limits.take(replace(keys[5], key_id=holder(3).key_id))
    assert refused is not None
    assert [name for name, _ in refused.headers()] == [b"ratelimit-policy", b"ratelimit"]
    assert refused.headers()[0][1] == b'"tenant";q=10;w=60'
    with pytest.raises(RateLimited, match="keys of this tenant together may make 10 requests"):
        refused.enforce()


async def test_a_tenants_limit_holds_for_keys_without_one(limits: RateLimits) -> None:
    [who] = family(1, rpm=0, tenant_rpm=2)
    assert await take_many(limits, who, 3) == [True, True, False]


async def test_a_key_over_its_own_limit_takes_nothing_from_its_tenant(limits: RateLimits) -> None:
    loud, quiet = family(2, rpm=2, tenant_rpm=4)
    assert sum(await take_many(limits, loud, 50)) == 2
    assert await take_many(limits, quiet, 2) == [True, True]


async def test_the_headers_tell_the_limit_that_is_met_first(limits: RateLimits) -> None:
    one, two = family(2, rpm=5, tenant_rpm=6)
    policies = []
    for who in (one, one, two, two):
        limit = await limits.take(who)
        assert limit is not None
        policies.append((limit.policy, limit.remaining))
    assert policies == [("default", 4), ("default", 3), ("tenant", 3), ("tenant", 2)]


async def test_other_tenants_have_buckets_of_their_own(limits: RateLimits) -> None:
    (mine,), (theirs,) = family(1, rpm=9, tenant_rpm=1), family(1, rpm=9, tenant_rpm=1)
    assert await take_many(limits, mine, 2) == [True, False]
    assert await take_many(limits, theirs, 1) == [True]


async def test_two_processes_share_a_tenants_bucket_over_redis(settings: Any, limits: RateLimits) -> None:
    if not settings.GATEWAY_REDIS_URL:
        pytest.skip("the embedded deployment is one process")
    (one, two), other = family(2, rpm=9, tenant_rpm=3), RateLimits()
    try:
        assert await take_many(limits, one, 2) == [True, True]
        assert await take_many(other, two, 2) == [True, False]
    finally:
        await other.close()
