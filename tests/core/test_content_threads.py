"""The threads for foreign content are shared fairly, and nothing in them outlives a deadline or the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from core_app.content_threads import ContentThreads, Deadline

ROOT = Path(__file__).resolve().parents[2]

STUCK = """
import asyncio, os, threading
import django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()
from core_app.content_threads import CONTENT

began = threading.Event()

def forever(deadline):
    began.set()
    threading.Event().wait()

async def main():
    task = asyncio.create_task(CONTENT.run(forever, owner=1))
    while not began.is_set():
        await asyncio.sleep(0.01)
    task.cancel()

asyncio.run(main())
print("ended")
"""


@pytest.fixture(autouse=True)
def _four_threads(settings: Any) -> None:
    settings.GATEWAY_CONTENT_THREADS = 4


async def test_work_is_done_in_a_thread_and_its_result_or_error_comes_back() -> None:
    threads = ContentThreads()
    assert await threads.run(lambda _: threading.current_thread(), owner=1) is not threading.current_thread()

    def fail(deadline: Deadline) -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        await threads.run(fail, owner=1)


async def test_work_that_looks_at_its_deadline_ends_with_it() -> None:
    ended = threading.Event()

    def endless(deadline: Deadline) -> None:
        try:
            while True:
                deadline.check()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await ContentThreads().run(endless, owner=1, seconds=0.05)
    assert await asyncio.to_thread(ended.wait, 60)


async def test_a_tenant_has_half_of_the_threads_even_if_its_work_is_given_up() -> None:
    threads, released = ContentThreads(), threading.Event()
    stuck = [
        asyncio.ensure_future(threads.run(lambda _: released.wait(60), owner=1, seconds=seconds))
        for seconds in (0.01, 0.01, None, None, None, None)
    ]
    try:
        await asyncio.wait(stuck[:2])
        async with asyncio.timeout(60):
            assert await threads.run(lambda _: "done", owner=2) == "done"
        with pytest.raises(TimeoutError):
            await threads.run(lambda _: "done", owner=1, seconds=0.01)
    finally:
        released.set()
    await asyncio.wait(stuck)


def test_a_process_ends_with_stuck_work_under_way() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
