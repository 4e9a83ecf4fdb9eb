"""PostgreSQL fails over to a standby that had not received everything, under a process and clients of every face."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.__main__ import services_find
from tests.settings import DEPLOYMENT
from tests.stack.client import Client, until
from tests.stack.deployment import Deployment
from tests.stack.face_readers import all_have_the_log, all_read, readers_of
from tests.stack.postgres_process import PostgresMissing, PostgresProcess
from tests.stack.process import GatewayProcess
from tests.stack.test_restore import SECONDS, SESSION, run

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(DEPLOYMENT == "embedded", reason="SQLite has no standby."),
]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[PostgresProcess, PostgresProcess]]:
    """A primary, and a standby that has everything so far and runs no more."""
    with ExitStack() as stack:
        # Its user must reach the directory, which pytest's own does not allow.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-pair-")))
        directory.chmod(0o755)
        for name in ("primary", "standby"):
            (directory / name).mkdir()
        try:
            primary = PostgresProcess(directory / "primary")
        except PostgresMissing as missing:
            pytest.skip(str(missing))
        stack.callback(primary.end)
        primary.start()
        standby = PostgresProcess(directory / "standby", primary=primary)
        stack.callback(standby.end)
        yield primary, standby


async def test_every_client_has_the_log_after_a_failover_or_was_told_from_where(
    pair: tuple[PostgresProcess, PostgresProcess],
    process: Callable[..., GatewayProcess],
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    services, missing = services_find(os.environ)
    if not services:
        pytest.skip(missing)
    primary, standby = pair
    (tmp_path / "data").mkdir(exist_ok=True)
    gateway = process("failover", Deployment(tmp_path / "data", primary.url, services["GATEWAY_TEST_REDIS_URL"]))
    standby.start()
    await gateway.start()
    client = Client(http, gateway.url)
    await client.create(SESSION)
    await run(client, "the first words")
    async with readers_of(client, SESSION, 3) as (connected, ahead, at_base):
        base = (await client.log(SESSION))[-1]
        await until(lambda: all_read(base, connected, ahead, at_base), SECONDS, "all have read it")
        for reader in at_base.values():
            reader.sleeps()
        await until(lambda: standby.has_received_all(primary), SECONDS, "the standby has it")
        standby.stop()
        await run(client, "words that are lost")
        lost = (await client.log(SESSION))[-1]
        await until(lambda: all_read(lost, connected, ahead), SECONDS, "two of each face have read on")
        for reader in ahead.values():
            reader.sleeps()
        primary.stop("immediate")
        standby.take_over(primary)

        async def is_ready() -> bool:
            async with http.get(f"{gateway.url}/readyz") as answer:
                return answer.status == 200

        await until(is_ready, SECONDS, "the process is ready again")
        await run(client, "words in their place, and some more of them than there were before " * 3)
        for reader in (*ahead.values(), *at_base.values()):
            reader.wakes()
        log = await client.log(SESSION)
        await all_have_the_log(log, SECONDS, base=base, lost=lost, reset=(connected, ahead), not_reset=(at_base,))
        assert len({event.position.partition(".")[2] for event in log[base.id :]} - {""}) == 1
