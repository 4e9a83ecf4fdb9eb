"""Job workers are restarted, whatever ended them (PostgreSQL only: an embedded gateway has no queue)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

pytestmark = pytest.mark.skipif(not settings.GATEWAY_DATABASE_URL, reason="Jobs are PostgreSQL's.")


class EndingWorkers:
    """A queue whose workers end in each of `ways` and then run."""

    def __init__(self, *ways: BaseException | None) -> None:
        self._ways: Iterator[BaseException | None] = iter(ways)
        self.running = asyncio.Event()

    async def run_worker_async(self, **given: Any) -> None:
        way = next(self._ways, self)
        if isinstance(way, BaseException):
            raise way
        if way is self:
            self.running.set()
            await asyncio.Event().wait()


@pytest.mark.parametrize("way", [None, ConnectionError()], ids=["without a word", "with an error"])
async def test_a_worker_that_ended_is_begun_again(way: BaseException | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from sessions_app.legs import jobs

    monkeypatch.setattr(jobs, "RESTART_SECONDS", 0.0)
    workers = jobs.JobWorkers()
    library = EndingWorkers(way)
    workers._worker_app = library  # type: ignore[assignment]
    task = asyncio.create_task(workers._run("legs", 1))
    await asyncio.wait_for(library.running.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
