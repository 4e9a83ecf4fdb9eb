"""A backup is restored under connected and disconnected clients of every face: each has the log, or was told from where
it is new.

Embedded, the copy is served at the same port. Distributed, the database is exchanged while the process serves.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import aiohttp
import pytest

from tests.settings import DEPLOYMENT
from tests.stack.client import Client, until
from tests.stack.deployment import Deployment, exchange_databases
from tests.stack.face_readers import all_have_the_log, all_read, all_reset, readers_of
from tests.stack.process import GatewayProcess
from tests.stack.test_backup import restore_copy

SESSION = "kept"
SECONDS = 30

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def run(client: Client, text: str) -> None:
    """Prompts and waits for the end of the run."""
    request_id = await client.prompt(SESSION, text)

    async def has_ended() -> bool:
        return any(
            event.type == "agent_end" and event.data["requestId"] == request_id for event in await client.log(SESSION)
        )

    await until(has_ended, SECONDS, f"'{text}' ends")


async def put_back(copy: Deployment, first: GatewayProcess, second: GatewayProcess) -> GatewayProcess:
    """Lets the copy be served at the address that the clients know; returns the process that does."""
    if DEPLOYMENT == "embedded":
        await first.kill()
        second.port, second.url = first.port, first.url
        await second.start()
        return second
    exchange_databases(first.deployment.database_url, copy.database_url)

    async def is_ready() -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"{first.url}/readyz") as answer:
            return answer.status == 200

    await until(is_ready, SECONDS, "the process is ready again")
    return first


@pytest.mark.parametrize("moves_on", [True, False], ids=["written", "quiet"])
async def test_every_client_has_the_log_after_a_restore_or_was_told_from_where(
    deployment: Deployment,
    process: Callable[..., GatewayProcess],
    http: aiohttp.ClientSession,
    stack: ExitStack,
    moves_on: bool,
) -> None:
    """`moves_on`: the copy writes more than was lost before the sleepers come back, so offsets alone tell nothing."""
    first = process("first")
    await first.start()
    client = Client(http, first.url)
    await client.create(SESSION)
    await run(client, "the first words")
    async with readers_of(client, SESSION, 3) as (connected, ahead, at_copy):
        base = (await client.log(SESSION))[-1]
        await until(lambda: all_read(base, connected, ahead, at_copy), SECONDS, "all have read it")
        for reader in at_copy.values():
            reader.sleeps()
        copy = restore_copy(deployment, stack)
        await run(client, "words that are lost")
        lost = (await client.log(SESSION))[-1]
        await until(lambda: all_read(lost, connected, ahead), SECONDS, "two of each face have read on")
        for reader in ahead.values():
            reader.sleeps()
        await put_back(copy, first, process("second", copy))
        if moves_on:
            await run(client, "words in their place, and some more of them than there were before " * 3)
        for reader in (*ahead.values(), *at_copy.values()):
            reader.wakes()
        await until(lambda: all_reset(ahead), SECONDS, "who was ahead is told")
        await until(lambda: all_reset(connected), SECONDS, "who was connected is told")
        if not moves_on:
            await run(client, "words in their place")
        log = await client.log(SESSION)
        assert log[-1].id > base.id
        await all_have_the_log(log, SECONDS, base=base, lost=lost, reset=(connected, ahead), not_reset=(at_copy,))
        # Before: positions are the numbers they were. After: they say that the offsets mean something else now.
        assert [event.position for event in log[: base.id]] == [str(offset) for offset in range(1, base.id + 1)]
        generations = {event.position.partition(".")[2] for event in log[base.id :]}
        assert len(generations) == 1
        assert generations != {""}


@pytest.mark.skipif(DEPLOYMENT != "embedded", reason="A crash of PostgreSQL is in test_outages.py.")
async def test_a_killed_process_and_one_that_stopped_go_on_with_the_same_positions(
    process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    """The system keeps what a killed process wrote: only a power cut loses commits."""
    gateway = process()
    await gateway.start()
    client = Client(http, gateway.url)
    await client.create(SESSION)
    await run(client, "one")
    await gateway.kill()
    await gateway.start()
    await run(client, "two")
    gateway.signal(signal.SIGTERM)
    assert await gateway.wait_exit() == 0
    await gateway.start()
    await run(client, "three")
    log = await client.log(SESSION)
    assert [event.position for event in log] == [str(offset) for offset in range(1, len(log) + 1)]
