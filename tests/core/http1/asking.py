"""Requests of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from core_app.http1 import Client, Target

LIMIT = 1 << 26


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]


def target(url: str, **headers: str) -> Target:
    return Target.of(url, headers.items(), use_proxies=False)


async def ask(client: Client, url: str, body: bytes = b"{}") -> Answer:
    """Posts a body and returns the whole response."""
    response = await client.post(target(url), body, connect_seconds=30.0)
    try:
        return Answer(response.status, await response.read(LIMIT), response.headers)
    finally:
        response.close()


async def turns_until(happened: Callable[[], bool]) -> None:
    """Lets the loop turn until something has happened."""
    for _ in range(1_000_000):
        if happened():
            return
        await asyncio.sleep(0)
    raise AssertionError("It did not happen.")
