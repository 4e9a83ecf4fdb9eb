"""Wrong keys per address: they get 429 beyond the limit, and nobody else is held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core_app.errors import RateLimited, Unauthorized
from edge_app.gate.failed_keys import CAPACITY, MAX_WAITING, FailedKeys
from edge_app.http.asgi import Scope
from tenants_app.limits import RateLimits

LIMIT = 5


class Clock:
    """Time that stands still until the test moves it."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class LookUps:
    """Look-ups of credentials: `good` ones are known."""

    def __init__(self, *good: str) -> None:
        self.good = set(good)
        self.made: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def of(self, credential: str) -> Any:
        async def look_up() -> str:
            self.made.append(credential)
            await self.gate.wait()
            if credential not in self.good:
                raise Unauthorized("The API key is not known, or no longer good.")
            return credential

        return look_up


def from_address(address: str | None) -> Scope:
    return {"type": "http", "headers": [], "client": None if address is None else (address, 1)}


HERE = from_address("203.0.113.7")


@pytest.fixture
def address_clock() -> Clock:
    return Clock()


@pytest.fixture
async def failed_keys(settings: Any, address_clock: Clock) -> AsyncIterator[FailedKeys]:
    settings.GATEWAY_FAILED_KEYS_PER_MINUTE = LIMIT
    # In the shared store the addresses of former tests still have their counts.
    settings.GATEWAY_REDIS_URL = ""
    limits = RateLimits()
    yield FailedKeys(limits, address_clock)
    await limits.close()


async def exhaust(failed_keys: FailedKeys, scope: Scope = HERE) -> None:
    """Sends wrong keys until the address is over its limit."""
    for number in range(LIMIT):
        with pytest.raises(Unauthorized):
            await failed_keys.check(scope, f"wrong {number}", LookUps().of("wrong"))
    with pytest.raises(RateLimited) as refused:
        await failed_keys.check(scope, "wrong", LookUps().of("wrong"))
    assert refused.value.retry_after


async def test_wrong_keys_beyond_the_limit_get_429_and_a_key_that_was_good_is_served(
    failed_keys: FailedKeys,
) -> None:
    keys = LookUps("good")
    assert await failed_keys.check(HERE, "good", keys.of("good")) == "good"
    await exhaust(failed_keys)
    keys.gate.clear()
    # Strangers wait for each other; the known key does not wait for them.
    strangers = [asyncio.create_task(failed_keys.check(HERE, f"w{n}", keys.of(f"w{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    known = asyncio.create_task(failed_keys.check(HERE, "good", keys.of("good")))
    await asyncio.sleep(0)
    assert keys.made == ["good", "w0", "good"]
    keys.gate.set()
    assert await known == "good"
    results = await asyncio.gather(*strangers, return_exceptions=True)
    assert [type(result) for result in results] == [RateLimited] * 3


async def test_a_new_good_key_from_there_is_served_and_remembered(failed_keys: FailedKeys) -> None:
    await exhaust(failed_keys)
    keys = LookUps("new")
    assert await failed_keys.check(HERE, "new", keys.of("new")) == "new"


async def test_more_strangers_than_may_wait_are_refused_without_a_look_up(failed_keys: FailedKeys) -> None:
    await exhaust(failed_keys)
    keys = LookUps()
    keys.gate.clear()
    strangers = [
        asyncio.create_task(failed_keys.check(HERE, f"w{n}", keys.of(f"w{n}"))) for n in range(MAX_WAITING + 20)
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    assert sum(task.done() for task in strangers) == 20
    assert len(keys.made) == 1
    keys.gate.set()
    results = await asyncio.gather(*strangers, return_exceptions=True)
    assert {type(result) for result in results} == {RateLimited}
    assert len(keys.made) == MAX_WAITING


async def test_another_address_is_not_held_up(failed_keys: FailedKeys) -> None:
    await exhaust(failed_keys)
    with pytest.raises(Unauthorized):
        await failed_keys.check(from_address("198.51.100.1"), "wrong", LookUps().of("wrong"))


async def test_an_ipv6_network_is_one_address(failed_keys: FailedKeys) -> None:
    await exhaust(failed_keys, from_address("2001:db8::1"))
    with pytest.raises(RateLimited):
        await failed_keys.check(from_address("2001:db8::2"), "wrong", LookUps().of("wrong"))
    with pytest.raises(Unauthorized):
        await failed_keys.check(from_address("2001:db8:0:1::1"), "wrong", LookUps().of("wrong"))


async def test_without_an_address_nobody_is_limited(failed_keys: FailedKeys) -> None:
    for number in range(3 * LIMIT):
        with pytest.raises(Unauthorized):
            await failed_keys.check(from_address(None), f"wrong {number}", LookUps().of("wrong"))


async def test_the_time_is_over_after_the_seconds_that_were_told(failed_keys: FailedKeys, address_clock: Clock) -> None:
    await exhaust(failed_keys)
    keys = LookUps()
    keys.gate.clear()
    address_clock.seconds += 60
    attempts = [asyncio.create_task(failed_keys.check(HERE, f"w{n}", keys.of(f"w{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    # All at once, since no turn is kept any more.
    assert len(keys.made) == 3
    keys.gate.set()
    await asyncio.gather(*attempts, return_exceptions=True)


async def test_as_many_addresses_and_keys_are_remembered_as_have_room(failed_keys: FailedKeys, settings: Any) -> None:
    settings.GATEWAY_FAILED_KEYS_PER_MINUTE = 1
    for number in range(CAPACITY + 50):
        scope, good = from_address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"), f"good {number}"
        await failed_keys.check(scope, good, LookUps(good).of(good))
        for _ in range(2):
            with pytest.raises((Unauthorized, RateLimited)):
                await failed_keys.check(scope, "wrong", LookUps().of("wrong"))
    assert len(failed_keys._blocked) == len(failed_keys._good) == CAPACITY
