"""The pauses between attempts, on a clock that only they move."""

from __future__ import annotations

import random

import pytest

from gateway_client import ConnectionFailed, Timeouts, errors
from gateway_client.transport import Backoff


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        monkeypatch.setattr("gateway_client.transport.time.monotonic", lambda: self.now)
        monkeypatch.setattr("gateway_client.transport.asyncio.sleep", self.sleep)
        monkeypatch.setattr(random, "uniform", lambda low, high: high)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


TIMEOUTS = Timeouts(first_pause=1, longest_pause=4)


async def test_pauses_double_up_to_a_limit_and_end_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backoff = Backoff(TIMEOUTS, 12)
    for _ in range(4):
        await backoff.wait(OSError("refused"))
    with pytest.raises(ConnectionFailed):
        await backoff.wait(OSError("refused"))
    assert clock.pauses == [1, 2, 4, 4]


async def test_the_time_before_the_first_failure_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backoff = Backoff(TIMEOUTS, 12)
    clock.now += 3600
    await backoff.wait(None)
    clock.now += 3600
    backoff.reset()
    await backoff.wait(None)
    assert clock.pauses == [1, 1]


async def test_the_gateway_is_given_the_time_that_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backoff = Backoff(TIMEOUTS, 12)
    refusal = errors.RateLimited("slower", status=429, retry_after=7)
    await backoff.wait(refusal, refusal.retry_after)
    with pytest.raises(errors.RateLimited):
        await backoff.wait(refusal, refusal.retry_after)
    assert clock.pauses == [7]
